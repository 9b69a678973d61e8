import numpy as np
import pytest

from tests.engine.solvers.nets import Doubles, check_updates


@pytest.mark.parametrize(("momentum", "delta"), [(0.95, 1e-6), (0.5, 0.1), (0, 1e-4)])
def test_updates_have_the_running_size_of_the_updates_before(momentum: float, delta: float) -> None:
    def formula(g: Doubles, kept: list[Doubles], rate: float, time: int) -> Doubles:
        squares, updates = kept
        squares[...] = momentum * squares + (1 - momentum) * g**2
        step = g * np.sqrt(updates + delta) / np.sqrt(squares + delta)
        updates[...] = momentum * updates + (1 - momentum) * step**2
        return np.asarray(rate * step)

    check_updates(f'type: "AdaDelta" momentum: {momentum} delta: {delta}', formula, 2, rate=1.0)
