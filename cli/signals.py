"""Signals: one exception at the first Ctrl-C or SIGTERM, unless a command knows better; the end at the second."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SHOW_CURSOR = b"\x1b[?25h"


class Interrupted(KeyboardInterrupt):
    """The user, or whoever runs us, asked for the end.

    Attributes:
        story: how far the command had come, for the one line that is printed.
    """

    story = ""


class Interrupts:
    """Raises `Interrupted` in the main thread at the first SIGINT or SIGTERM, and ends the process at the second.

    A local server sees by its lifeline that this process is gone, so that the hurried end, too, leaves no worker.

    Attributes:
        came: whether the exception was raised, or is kept back.
        last_words: what the hurried end prints: "" for nothing, where that is told already.
    """

    def __init__(self) -> None:
        self.came = False
        self.last_words = "interrupted"
        self._shields = 0
        self._handler: Callable[[int], bool] | None = None

    def install(self) -> None:
        """Takes the signals over, for the rest of the process's life."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    @contextmanager
    def handled_by(self, handler: Callable[[int], bool]) -> Iterator[None]:
        """Asks somebody first who may know better what a signal is to do; takes SIGHUP over, too.

        Args:
            handler: takes the number of a signal and says whether that is all; it runs in the middle of anything.
        """
        before = signal.signal(signal.SIGHUP, self._on_signal)
        self._handler = handler
        try:
            yield
        finally:
            self._handler = None
            signal.signal(signal.SIGHUP, before if before is not None else signal.SIG_DFL)

    def raise_now(self) -> None:
        """Raises `Interrupted` as a signal would: the next one ends the process.

        Raises:
            Interrupted: always.
        """
        self.came = True
        raise Interrupted

    def check(self) -> None:
        """Raises where a signal came whose exception was lost, as in a callback of the interpreter."""
        if self.came and not self._shields:
            raise Interrupted

    @contextmanager
    def shield(self) -> Iterator[None]:
        """Keeps the exception back: for work that must not be left half done. It is raised behind it."""
        self._shields += 1
        came_before = self.came
        try:
            yield
        finally:
            self._shields -= 1
        if not came_before:
            self.check()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # While things are being ended, the end of the terminal does not hurry them.
        if self._handler is not None and (not self.came or number == signal.SIGHUP) and self._handler(number):
            return
        if self.came:
            if os.isatty(2):
                os.write(2, _SHOW_CURSOR)
            if self.last_words:
                _write_past_buffers(f"{self.last_words}\n".encode("utf-8", "backslashreplace"))
            os._exit(1)
        self.came = True
        self.check()


def _write_past_buffers(line: bytes) -> None:
    """Writes to stderr past Python's buffers, which the signal may have interrupted."""
    try:
        os.write(2, line)
    except OSError:
        pass  # whoever read it is gone


interrupts = Interrupts()
"""Those of this process: signals are global, and so is this."""
