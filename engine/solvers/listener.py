"""What a solver tells those who watch it."""

from __future__ import annotations

from pathlib import Path


class SolverListener:
    """Base class of listeners: every method does nothing. They are called in the solver's thread, between steps."""

    def on_iteration(self, iteration: int, loss: float, learning_rate: float) -> None:
        """An iteration is done.

        Args:
            iteration: how many are done by now: 1 after the first.
            loss: the mean of the last average_loss losses.
            learning_rate: the rate of the update that it ended with.
        """

    def on_display(self, iteration: int, loss: float, outputs: dict[str, list[float]]) -> None:
        """The `display` interval has come round, before the update of this iteration.

        Args:
            iteration: how many updates were done before: 0 at the first.
            loss: the mean of the last average_loss losses.
            outputs: values of the train net's outputs.
        """

    def on_test(self, test_net_index: int, iteration: int, outputs: dict[str, list[float]]) -> None:
        """A test net was run.

        Args:
            test_net_index: which.
            iteration: how many updates were done before.
            outputs: means of its outputs over test_iter passes.
        """

    def on_snapshot(self, model_path: Path, state_path: Path) -> None:
        """A snapshot was written: weights and solver state."""
