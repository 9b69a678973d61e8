"""What happened in a training run: for its summary and its curves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from farlayer.engine.solvers.listener import SolverListener


@dataclass(frozen=True)
class TestResult:
    """Means of the outputs of one test.

    Attributes:
        iteration: how many updates were done before.
        net: which test net.
        outputs: by name.
    """

    __test__ = False  # for pytest: not one of its classes

    iteration: int
    net: int
    outputs: dict[str, list[float]]


class RunHistory(SolverListener):
    """Keeps every loss, every test and the last snapshot.

    Attributes:
        iterations, losses: one entry for each iteration.
        tests: in their order.
        snapshot: weights and state; None before the first.
    """

    def __init__(self) -> None:
        self.iterations: list[int] = []
        self.losses: list[float] = []
        self.tests: list[TestResult] = []
        self.snapshot: tuple[Path, Path] | None = None

    def on_iteration(self, iteration: int, loss: float, learning_rate: float) -> None:
        """See SolverListener."""
        self.iterations.append(iteration)
        self.losses.append(loss)

    def on_test(self, test_net_index: int, iteration: int, outputs: dict[str, list[float]]) -> None:
        """See SolverListener."""
        self.tests.append(TestResult(iteration, test_net_index, outputs))

    def on_snapshot(self, model_path: Path, state_path: Path) -> None:
        """See SolverListener."""
        self.snapshot = (model_path, state_path)

    @property
    def last_tests(self) -> list[TestResult]:
        """The last test of each net."""
        return list({result.net: result for result in self.tests}.values())

    def position(self, iteration: int) -> str:
        """Where the run stands, for the line about its early end."""
        snapshot = f"last snapshot: {self.snapshot[0]}" if self.snapshot else "no snapshot was written"
        return f"iteration {iteration}; {snapshot}"
