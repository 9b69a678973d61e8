import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos.errors import NetError
from tests.engine.support import blob_of, layer_of, random_blob, run

TEXT = 'type: "Clip" clip_param { min: -0.5 max: 0.75 }'


def test_values_are_held_between_the_bounds() -> None:
    (top,) = run(layer_of(TEXT), [blob_of([-2, -0.5, 0, 0.75, 1, np.inf])])
    np.testing.assert_array_equal(top.data, [-0.5, -0.5, 0, 0.75, 0.75, 0.75])


def test_the_gradient_passes_at_the_bounds_and_between_them() -> None:
    bottom, layer = blob_of([-2, -0.5, 0, 0.75, 1]), layer_of(TEXT)
    top = run(layer, [bottom])
    top[0].diff.fill(3)
    layer.backward(top, [True], [bottom])
    np.testing.assert_array_equal(bottom.diff, [0, 3, 3, 3, 0])


@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 3, 2)])
def test_the_gradient_is_right(shape: tuple[int, ...]) -> None:
    bottom = random_blob(*shape)
    for bound in (-0.5, 0.75):  # away from the kinks
        bottom.data[np.abs(bottom.data - bound) < 0.02] = 0
    assert GradientChecker().check(layer_of(TEXT), [bottom], [Blob()])


def test_a_lower_bound_above_the_upper_one_wins() -> None:
    (top,) = run(layer_of('type: "Clip" clip_param { min: 2 max: 1 }'), [blob_of([0, 1.5, 3])])
    np.testing.assert_array_equal(top.data, [2, 2, 2])


def test_a_nan_is_passed_on() -> None:
    (top,) = run(layer_of(TEXT), [blob_of([np.nan, 1])])
    assert np.isnan(top.data[0])


def test_bounds_that_are_not_given_are_refused() -> None:
    with pytest.raises(NetError, match=r"layer 'l' \(Clip\): the bounds are not given"):
        run(layer_of('type: "Clip"'), [random_blob(2)])
