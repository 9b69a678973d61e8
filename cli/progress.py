"""Progress of a training run: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from farlayer.cli.console import Screen
from farlayer.cli.formats import scores
from farlayer.cli.signals import interrupts
from farlayer.engine.solvers.listener import SolverListener
from farlayer.engine.solvers.solver import Solver

_REFRESHES_A_SECOND = 5
_LINE_INTERVAL_S = 10.0
"""Between lines where the solver has no display interval."""


@contextmanager
def shown_progress(screen: Screen, solver: Solver) -> Iterator[None]:
    """Shows the progress of the solver inside `with`."""
    if screen.is_live:
        bar = LiveProgress(solver)
        solver.add_listener(bar)
        with Live(bar, console=screen.err, refresh_per_second=_REFRESHES_A_SECOND, transient=True) as live:
            bar.attach(live)
            yield
    else:
        solver.add_listener(LineProgress(screen, solver))
        yield


def test_line(solver: Solver, index: int, iteration: int, outputs: dict[str, list[float]]) -> str:
    """One line about a test."""
    net = f" net #{index}" if len(solver.test_nets) > 1 else ""
    return f"Iteration {iteration}, test{net}: {scores(outputs)}"


class RateColumn(TextColumn):
    """Iterations a second."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        """Shows nothing before it is known."""
        return Text(f"{task.speed:.1f} it/s" if task.speed else "", justify="right")


class LiveProgress(SolverListener):
    """A bar with rate and remaining time; under it loss, learning rate and the last test. Tests stay as lines above.

    A stop that was asked for is told there, too.
    """

    def __init__(self, solver: Solver) -> None:
        self._solver = solver
        self._bar = Progress(
            TextColumn("Training"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            RateColumn(),
            TimeRemainingColumn(compact=True),
            expand=True,
        )
        self._task: TaskID = self._bar.add_task("", total=solver.param.max_iter, completed=solver.iter)
        self._live: Live | None = None
        self._loss: float | None = None
        self._rate = 0.0
        self._test = ""

    def attach(self, live: Live) -> None:
        """Gives the screen on which tests are printed."""
        self._live = live

    def on_iteration(self, iteration: int, loss: float, learning_rate: float) -> None:
        """See SolverListener."""
        interrupts.check()
        self._loss, self._rate = loss, learning_rate
        self._bar.update(self._task, completed=iteration)

    def on_test(self, test_net_index: int, iteration: int, outputs: dict[str, list[float]]) -> None:
        """See SolverListener."""
        interrupts.check()
        self._test = f"test {scores(outputs)}"
        if self._live is not None:
            self._live.console.print(Text(test_line(self._solver, test_net_index, iteration, outputs)))

    def __rich__(self) -> Group:
        """What is drawn now."""
        if self._solver.is_stop_requested:
            return Group(self._bar, Text("stopping after this iteration; Ctrl-C once more: at once", "yellow"))
        state = f"loss {self._loss:.4g}   lr {self._rate:.4g}   " if self._loss is not None else ""
        return Group(self._bar, Text(state + self._test, "dim", no_wrap=True, overflow="ellipsis"))


class LineProgress(SolverListener):
    """Lines as Caffe writes them, at the solver's display interval."""

    def __init__(self, screen: Screen, solver: Solver) -> None:
        self._screen = screen
        self._solver = solver
        self._last_at = time.monotonic()
        self._last_iteration = solver.iter

    def on_iteration(self, iteration: int, loss: float, learning_rate: float) -> None:
        """See SolverListener."""
        interrupts.check()
        if not self._solver.param.display and time.monotonic() - self._last_at >= _LINE_INTERVAL_S:
            self._line(iteration, loss)

    def on_display(self, iteration: int, loss: float, outputs: dict[str, list[float]]) -> None:
        """See SolverListener."""
        self._line(iteration, loss)

    def on_test(self, test_net_index: int, iteration: int, outputs: dict[str, list[float]]) -> None:
        """See SolverListener."""
        interrupts.check()
        self._print(test_line(self._solver, test_net_index, iteration, outputs))

    def _line(self, iteration: int, loss: float) -> None:
        now = time.monotonic()
        done = iteration - self._last_iteration
        rate = f" ({done / (now - self._last_at):.4g} iter/s)" if done else ""
        self._last_at, self._last_iteration = now, iteration
        self._print(f"Iteration {iteration}{rate}, loss = {loss:.6g}, lr = {self._solver.learning_rate():.4g}")

    def _print(self, line: str) -> None:
        self._screen.err.print(Text(line), soft_wrap=True)
