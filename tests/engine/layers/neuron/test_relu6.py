import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from tests.engine.support import blob_of, layer_of, random_blob, run

PLAIN = 'type: "ReLU6"'
LEAKY = 'type: "ReLU6" relu_param { negative_slope: 0.25 }'


@pytest.mark.parametrize(("text", "below"), [(PLAIN, 0), (LEAKY, -0.5)])
def test_values_stop_at_six(text: str, below: float) -> None:
    (top,) = run(layer_of(text), [blob_of([-2, 0, 0.5, 6, 7, np.inf])])
    np.testing.assert_array_equal(top.data, [below, 0, 0.5, 6, 6, 6])


@pytest.mark.parametrize(("text", "below"), [(PLAIN, 0), (LEAKY, 0.25)])
def test_the_gradient_passes_between_zero_and_six(text: str, below: float) -> None:
    bottom, layer = blob_of([-2, 0, 0.5, 6, 7]), layer_of(text)
    top = run(layer, [bottom])
    top[0].diff.fill(1)
    layer.run_backward(top, [True], [bottom])
    np.testing.assert_array_equal(bottom.diff, [below, below, 1, 0, 0])


@pytest.mark.parametrize("text", [PLAIN, LEAKY])
def test_the_gradient_is_right(text: str) -> None:
    bottom = blob_of(random_blob(2, 3, 4).data * 4)
    bottom.data[np.abs(bottom.data - 6) < 0.02] = 5
    assert GradientChecker(kink_range=0.011).check(layer_of(text), [bottom], [Blob()])


def test_a_nan_is_passed_on() -> None:
    (top,) = run(layer_of(PLAIN), [blob_of([np.nan, 1])])
    assert np.isnan(top.data[0])
