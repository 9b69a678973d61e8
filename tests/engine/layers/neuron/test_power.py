import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from tests.engine.support import blob_of, layer_of, random_blob, run

CASES = {
    "": (1, 1, 0),
    "scale: 3 shift: 2": (1, 3, 2),
    "power: 0 scale: 2 shift: 1": (0, 2, 1),
    "power: 2": (2, 1, 0),
    "power: 2 scale: 0.5 shift: 1.5": (2, 0.5, 1.5),
    "power: 3 shift: 1": (3, 1, 1),
    "power: 0.37 scale: 0.83 shift: 2.4": (0.37, 0.83, 2.4),
    "power: -1 shift: 0.5": (-1, 1, 0.5),
    "power: 0.37 scale: 0 shift: 2.4": (0.37, 0, 2.4),
    "power: 0 scale: 0": (0, 0, 0),
}


def text(fields: str) -> str:
    return f'type: "Power" power_param {{ {fields} }}'


def positive(*shape: int) -> Blob:
    return blob_of(np.abs(random_blob(*shape).data) + 0.5)


@pytest.mark.parametrize("fields", CASES)
def test_forward_is_the_power_of_a_linear_function(fields: str) -> None:
    power, scale, shift = CASES[fields]
    bottom = positive(3, 4)
    (top,) = run(layer_of(text(fields)), [bottom])
    np.testing.assert_allclose(top.data, (shift + scale * bottom.data.astype(np.float64)) ** power, rtol=1e-5)


@pytest.mark.parametrize("fields", CASES)
def test_the_gradient_is_right(fields: str) -> None:
    assert GradientChecker(threshold=3e-3).check(layer_of(text(fields)), [positive(2, 3)], [Blob()])


@pytest.mark.parametrize(("power", "value", "slope"), [(2, 0, 0), (3, 0, 0), (1, 0, 1), (0, 1, 0), (0.5, 0, np.inf)])
def test_at_zero_the_gradient_is_that_of_the_function(power: float, value: float, slope: float) -> None:
    bottom, layer = blob_of([0]), layer_of(text(f"power: {power}"))
    top = run(layer, [bottom])
    top[0].diff.fill(1)
    layer.run_backward(top, [True], [bottom])
    assert top[0].data[0] == value
    assert bottom.diff[0] == slope


def test_a_whole_power_of_a_negative_value_is_real() -> None:
    (top,) = run(layer_of(text("power: 3")), [blob_of([-2])])
    assert top.data[0] == -8


@pytest.mark.parametrize("fields", ["power: 0", "scale: 0 shift: 3"])
def test_a_constant_does_not_depend_on_what_comes_in(fields: str) -> None:
    (top,) = run(layer_of(text(fields)), [blob_of([np.nan, np.inf, 1])])
    assert len(set(top.data)) == 1
    assert np.isfinite(top.data).all()
