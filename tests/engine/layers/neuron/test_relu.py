import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from tests.engine.support import blob_of, layer_of, random_blob, run

PLAIN = 'type: "ReLU"'
LEAKY = 'type: "ReLU" relu_param { negative_slope: 0.25 }'


def test_negative_values_become_zero() -> None:
    (top,) = run(layer_of(PLAIN), [blob_of([-2, -0.5, 0, 0.5, 2])])
    np.testing.assert_array_equal(top.data, [0, 0, 0, 0.5, 2])


def test_a_negative_slope_scales_negative_values() -> None:
    (top,) = run(layer_of(LEAKY), [blob_of([-2, -0.5, 0, 0.5, 2])])
    np.testing.assert_array_equal(top.data, [-0.5, -0.125, 0, 0.5, 2])


@pytest.mark.parametrize("text", [PLAIN, LEAKY])
def test_the_gradient_is_right(text: str) -> None:
    assert GradientChecker(kink_range=0.011).check(layer_of(text), [random_blob(2, 3, 4)], [Blob()])


@pytest.mark.parametrize(("text", "slope"), [(PLAIN, 0), (LEAKY, 0.25)])
def test_the_gradient_at_zero_is_that_from_below(text: str, slope: float) -> None:
    bottom, layer = blob_of([-1, 0, 1]), layer_of(text)
    top = run(layer, [bottom])
    top[0].diff.fill(1)
    layer.run_backward(top, [True], [bottom])
    np.testing.assert_array_equal(bottom.diff, [slope, slope, 1])


@pytest.mark.parametrize("slope", [0.1, 1, 3, -0.5])
def test_any_slope_will_do(slope: float) -> None:
    bottom = random_blob(3, 4)
    (top,) = run(layer_of(f'type: "ReLU" relu_param {{ negative_slope: {slope} }}'), [bottom])
    np.testing.assert_allclose(top.data, np.where(bottom.data > 0, 1, slope) * bottom.data, rtol=1e-6)


def test_a_nan_is_passed_on() -> None:
    (top,) = run(layer_of(PLAIN), [blob_of([np.nan, 1])])
    assert np.isnan(top.data[0])
