import numpy as np
import pytest

from tests.engine.solvers.nets import Doubles, check_updates


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_the_update_looks_ahead_of_the_velocity(momentum: float) -> None:
    def formula(g: Doubles, kept: list[Doubles], rate: float, time: int) -> Doubles:
        before = kept[0].copy()
        kept[0][...] = momentum * before + rate * g
        return np.asarray(kept[0] + momentum * (kept[0] - before))

    check_updates(f'type: "Nesterov" momentum: {momentum}', formula)
