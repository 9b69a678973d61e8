"""Brings the lines that a local server and its workers write onto a screen that is being redrawn."""

from __future__ import annotations

import os
import threading
from types import TracebackType

from rich.console import Console
from rich.text import Text

_LAST_LINES_S = 2.0
"""How long to wait, after the end of the server, for whoever else still holds its stderr."""


class WorkerOutput:
    """A pipe whose lines are printed above the progress bar. `with` opens and closes it.

    Attributes:
        descriptor: where to write; -1 outside `with`.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._thread: threading.Thread | None = None
        self.descriptor = -1

    def __enter__(self) -> WorkerOutput:
        reading, self.descriptor = os.pipe()
        self._thread = threading.Thread(target=self._print, args=(reading,), name="worker-output", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self.descriptor)
        self.descriptor = -1
        if self._thread is not None:
            self._thread.join(_LAST_LINES_S)

    def _print(self, reading: int) -> None:
        with open(reading, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                self._console.print(Text(line.rstrip("\n"), "dim"), soft_wrap=True)
