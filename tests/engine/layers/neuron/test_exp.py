import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos.errors import NetError
from tests.engine.support import blob_of, layer_of, random_blob, run

CASES = {
    "": (np.e, 1, 0),
    "base: 2": (2, 1, 0),
    "scale: 3": (np.e, 3, 0),
    "shift: 1": (np.e, 1, 1),
    "base: 2 scale: 3 shift: 1": (2, 3, 1),
    "base: 0.5 shift: -2": (0.5, 1, -2),
    "base: 1": (1, 1, 0),
    "base: 5 scale: 0": (5, 0, 0),
}


def text(fields: str) -> str:
    return f'type: "Exp" exp_param {{ {fields} }}'


@pytest.mark.parametrize("fields", CASES)
def test_forward_is_the_base_to_the_power_of_a_linear_function(fields: str) -> None:
    base, scale, shift = CASES[fields]
    bottom = random_blob(3, 4)
    (top,) = run(layer_of(text(fields)), [bottom])
    np.testing.assert_allclose(top.data, base ** (shift + scale * bottom.data.astype(np.float64)), rtol=1e-5)


@pytest.mark.parametrize("fields", CASES)
def test_the_gradient_is_right(fields: str) -> None:
    bottom = blob_of(random_blob(2, 3).data * 0.5)
    assert GradientChecker(step=1e-3, threshold=5e-3).check(layer_of(text(fields)), [bottom], [Blob()])


def test_values_beyond_float_become_infinite_without_a_warning() -> None:
    (top,) = run(layer_of(text("shift: 1000")), [blob_of([0])])
    assert np.isinf(top.data[0])


@pytest.mark.parametrize("base", ["0", "-2", "inf", "nan"])
def test_a_base_without_a_logarithm_is_refused(base: str) -> None:
    with pytest.raises(NetError, match=r"layer 'l' \(Exp\): exp_param.base is .*expected more than 0"):
        run(layer_of(text(f"base: {base}")), [random_blob(2)])
