"""What SIGINT and SIGHUP do to a training run: Caffe's effects stop, snapshot and none."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from farlayer.engine.solvers.solver import Solver

EFFECTS = ("stop", "snapshot", "none")
_STOPPING = b"stopping after this iteration; once more: at once\n"


class SignalEffects:
    """Handles the signals of a training run; see `Interrupts.handled_by`.

    stop ends the run after the running iteration, or the running pass of a test, with the snapshot that ends every
    run. Asked for again, or where no solver runs, it is not handled here: the run ends at once. snapshot writes one at
    the same places, and the run goes on; where no solver runs yet it is written by the one that will. After a SIGHUP
    that comes from the end of the terminal, output goes nowhere, where it would fail.

    Args:
        sigint, sighup: the effects.
        is_live: whether progress is drawn, which tells of a stop itself.

    Source: Caffe, tools/caffe.cpp and src/caffe/util/signal_handler.cpp.
    Differs from Caffe: a second SIGINT ends the run at once, where Caffe's would wait for the iteration again.
    """

    def __init__(self, sigint: str, sighup: str, *, is_live: bool) -> None:
        self._effects = {signal.SIGINT: sigint, signal.SIGHUP: sighup}
        self._is_live = is_live
        self._solver: Solver | None = None
        self._is_snapshot_pending = False
        self._terminals = [descriptor for descriptor in range(3) if os.isatty(descriptor)]

    @contextmanager
    def on(self, solver: Solver) -> Iterator[None]:
        """Has signals act on a solver that runs inside `with`."""
        if self._is_snapshot_pending:
            solver.request_snapshot()
        self._solver = solver
        try:
            yield
        finally:
            self._solver = None

    def __call__(self, number: int) -> bool:
        """Takes a signal; returns whether that is all."""
        if number == signal.SIGHUP:
            self._leave_lost_terminals()
        effect = self._effects.get(signal.Signals(number))
        if effect == "stop":
            return self._stop()
        if effect == "snapshot":
            if self._solver is None:
                self._is_snapshot_pending = True
            else:
                self._solver.request_snapshot()
        return effect is not None

    def _stop(self) -> bool:
        if self._solver is None or self._solver.is_stop_requested:
            return False
        self._solver.request_stop()
        if not self._is_live:
            _write(_STOPPING)
        return True

    def _leave_lost_terminals(self) -> None:
        lost = [descriptor for descriptor in self._terminals if not os.isatty(descriptor)]
        if not lost:
            return
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in lost:
            os.dup2(nowhere, descriptor)
            self._terminals.remove(descriptor)
        os.close(nowhere)


def _write(line: bytes) -> None:
    """Writes to stderr past Python's buffers, which a signal may have interrupted."""
    try:
        os.write(2, line)
    except OSError:
        pass  # whoever read it is gone
