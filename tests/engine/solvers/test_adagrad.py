import numpy as np
import pytest

from farlayer.protos.errors import NetError
from tests.engine.solvers.nets import Doubles, check_updates, make_solver


@pytest.mark.parametrize("delta", [1e-8, 0.5])
def test_the_rate_falls_with_the_squares_of_all_gradients(delta: float) -> None:
    def formula(g: Doubles, kept: list[Doubles], rate: float, time: int) -> Doubles:
        kept[0] += g**2
        return np.asarray(rate * g / (np.sqrt(kept[0]) + delta))

    check_updates(f'type: "AdaGrad" delta: {delta}', formula)


def test_momentum_is_refused() -> None:
    with pytest.raises(NetError, match=r"momentum is 0\.9, but type 'AdaGrad' cannot be used with momentum") as caught:
        make_solver('type: "AdaGrad" momentum: 0.9')
    assert caught.value.remedy
    make_solver('type: "AdaGrad" momentum: 0')
