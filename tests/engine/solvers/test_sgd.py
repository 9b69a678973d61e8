import numpy as np
import pytest

from tests.engine.solvers.nets import Doubles, check_updates, make_solver


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_the_update_is_a_velocity(momentum: float) -> None:
    def formula(g: Doubles, kept: list[Doubles], rate: float, time: int) -> Doubles:
        kept[0][...] = momentum * kept[0] + rate * g
        return kept[0]

    check_updates(f"momentum: {momentum}", formula)


def test_training_makes_the_loss_small() -> None:
    solver = make_solver("momentum: 0.9")
    solver.step(200)
    assert solver.net.forward() < 1e-3
    np.testing.assert_allclose(
        solver.net.layer("ip").params[0].data, solver.net.layer("target").params[0].data, atol=0.05
    )
