import numpy as np
import pytest

from farlayer.protos.errors import NetError
from tests.engine.solvers.nets import Doubles, check_updates, make_solver


@pytest.mark.parametrize(("options", "decay", "delta"), [("", 0.99, 1e-8), ("rms_decay: 0.5 delta: 0.1", 0.5, 0.1)])
def test_gradients_are_divided_by_their_running_size(options: str, decay: float, delta: float) -> None:
    def formula(g: Doubles, kept: list[Doubles], rate: float, time: int) -> Doubles:
        kept[0][...] = decay * kept[0] + (1 - decay) * g**2
        return np.asarray(rate * g / (np.sqrt(kept[0]) + delta))

    check_updates(f'type: "RMSProp" {options}', formula)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("momentum: 0.9", "momentum is 0.9, but type 'RMSProp' cannot be used with momentum"),
        ("rms_decay: 1", "rms_decay is 1, expected 0 or more and less than 1"),
        ("rms_decay: -0.5", "rms_decay is -0.5, expected"),
    ],
)
def test_what_caffe_refuses_is_refused(options: str, message: str) -> None:
    with pytest.raises(NetError, match=message) as caught:
        make_solver(f'type: "RMSProp" {options}')
    assert caught.value.remedy
