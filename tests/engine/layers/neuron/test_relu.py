import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from tests.engine.support import assert_untouched, blob_of, layer_of, random_blob, run, untouched

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


@pytest.mark.parametrize("text", [PLAIN, LEAKY])
def test_in_place_gives_the_same_values_and_gradients(text: str) -> None:
    apart, in_place = random_blob(4, 5), random_blob(4, 5)
    (top,) = run(layer_of(text), [apart])
    layer = layer_of(text)
    layer.run_setup([in_place], [in_place])
    layer.run_forward([in_place], [in_place])
    np.testing.assert_array_equal(in_place.data, top.data)
    top.diff[...] = in_place.diff[...] = random_blob(4, 5, seed=3).data
    layer.backward([top], [True], [apart])
    layer.backward([in_place], [True], [in_place])
    np.testing.assert_array_equal(in_place.diff, apart.diff)


def test_without_propagate_down_the_diff_stays() -> None:
    bottom = random_blob(2, 3)
    layer = layer_of(PLAIN)
    top = run(layer, [bottom])
    untouched(bottom)
    layer.backward(top, [False], [bottom])
    assert_untouched(bottom)


def test_an_empty_batch_passes() -> None:
    bottom = random_blob(0, 3)
    layer = layer_of(LEAKY)
    top = run(layer, [bottom])
    layer.backward(top, [True], [bottom])
    assert top[0].shape == (0, 3)


def test_a_nan_is_passed_on() -> None:
    (top,) = run(layer_of(PLAIN), [blob_of([np.nan, 1])])
    assert np.isnan(top.data[0])
