"""What is written where: the story of a run on stderr, its results on stdout, log lines in between."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_NAME_WIDTH = 12
_FILE_WIDTH = 1000
"""Columns where the output is no terminal and COLUMNS does not say: so many that a table keeps one line a row."""


@dataclass(frozen=True)
class Screen:
    """The two streams of a command.

    Attributes:
        out: results.
        err: progress, log and errors.
        is_live: whether err is a terminal on which lines can be redrawn.
    """

    out: Console
    err: Console
    is_live: bool

    @classmethod
    def make(cls) -> Screen:
        """The streams of this process, from now on with escapes for what their encoding lacks, as stderr has them."""
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        out = Console(width=_width(sys.stdout.isatty()), highlight=False, soft_wrap=False)
        err = Console(width=_width(sys.stderr.isatty()), highlight=False, soft_wrap=False, stderr=True)
        return cls(out, err, sys.stderr.isatty() and not err.is_dumb_terminal)

    def configure_logging(self, level: str) -> None:
        """Has log lines of this process written to err, above whatever is redrawn there."""
        handler: logging.Handler
        if self.is_live:
            handler = RichHandler(console=self.err, show_path=False, markup=False, log_time_format="%H:%M:%S")
            handler.setFormatter(logging.Formatter("%(message)s"))
        else:
            handler = logging.StreamHandler()
            handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        logging.basicConfig(level=level, handlers=[handler], force=True)

    @contextmanager
    def status(self, text: str) -> Iterator[None]:
        """Shows what goes on, where err is a terminal."""
        if not self.is_live:
            yield
            return
        with self.err.status(text):
            yield

    def warn(self, message: str) -> None:
        """Prints one line about something that is probably not meant."""
        self.err.print(Text(f"warning: {message}", "yellow"), soft_wrap=True)

    def fact(self, name: str, value: str) -> None:
        """Prints one line of results: a name and a value, aligned."""
        self.out.print(Text.assemble((f"{name:<{_NAME_WIDTH}}", "bold"), value), soft_wrap=True)


def _width(is_terminal: bool) -> int | None:
    """None: as wide as the terminal, or as COLUMNS says."""
    return None if is_terminal or "COLUMNS" in os.environ else _FILE_WIDTH
