"""How what went wrong is told: errors with their remedy, interruptions, bugs."""

from __future__ import annotations

import traceback
from pathlib import Path

from rich.console import Console
from rich.text import Text

from farlayer.cli.console import Screen
from farlayer.cli.signals import interrupts
from farlayer.protos.errors import FarlayerError, LayerError, PrototxtError, WorkerDiedError


def tell_failure(screen: Screen, error: FarlayerError) -> int:
    """Prints an error with all it knows: layer, remote traceback, last lines of the worker, remedy.

    Returns:
        The exit code that the error stands for.
    """
    console = screen.err
    _print(console, Text.assemble(("error: ", "bold red"), error.message))
    if error.layer and error.layer not in error.message:
        _print(console, Text(f"  layer: {error.layer}"))
    if isinstance(error, PrototxtError) and error.line:
        _print(console, Text(_source_line(error), "dim"))
    if isinstance(error, LayerError) and error.remote_traceback:
        _block(console, f"In its {error.method or 'code'}:", error.remote_traceback)
    if isinstance(error, WorkerDiedError) and error.log_lines:
        _block(console, "Last lines of the worker:", "\n".join(error.log_lines))
    for note in getattr(error, "__notes__", ()):
        _print(console, Text(note, "dim"))
    if error.remedy:
        _print(console, Text.assemble(("remedy: ", "bold"), error.remedy))
    return error.exit_code


def tell_interruption(screen: Screen, story: str) -> int:
    """Prints the one line for Ctrl-C and SIGTERM. Returns the exit code."""
    interrupts.last_words = ""
    _print(screen.err, Text(story or "interrupted", "yellow"))
    return 1


def tell_bug(screen: Screen, error: Exception) -> int:
    """Prints an exception that nobody meant to raise. Returns the exit code."""
    _print(screen.err, Text("".join(traceback.format_exception(error)).rstrip()))
    _print(
        screen.err,
        Text.assemble(
            ("error: ", "bold red"),
            f"{type(error).__name__}: this is a bug in farlayer. Please report it with the lines above and the output "
            "of `farlayer doctor`.",
        ),
    )
    return 1


def _source_line(error: PrototxtError) -> str:
    """The line that the error is in, with a mark under its column; "" where the text is in no file."""
    try:
        line = Path(error.path).read_text(encoding="utf-8", errors="replace").splitlines()[error.line - 1]
    except (OSError, IndexError):
        return ""
    before = line[: max(error.column - 1, 0)]
    blank = "".join("\t" if character == "\t" else " " for character in before)
    return f"  {line}\n  {blank}^"


def _block(console: Console, title: str, lines: str) -> None:
    _print(console, Text(title))
    for line in lines.rstrip().splitlines():
        _print(console, Text(f"  {line}", "dim"))


def _print(console: Console, text: Text) -> None:
    """Prints without wrapping: a terminal folds long lines by itself, and what is copied stays whole."""
    console.print(text, soft_wrap=True)
