import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from tests.engine.support import assert_untouched, layer_of, random_blob, run, set_up, untouched


def test_forward_is_the_hyperbolic_tangent() -> None:
    bottom = random_blob(2, 3, 4)
    (top,) = run(layer_of('type: "TanH"'), [bottom])
    np.testing.assert_allclose(top.data, np.tanh(bottom.data), rtol=1e-6)


def test_the_gradient_is_right() -> None:
    assert GradientChecker().check(layer_of('type: "TanH"'), [random_blob(2, 3)], [Blob()])


def test_in_place_gives_the_same_values_and_gradients() -> None:
    apart, in_place = random_blob(2, 3), random_blob(2, 3)
    (top,) = run(layer_of('type: "TanH"'), [apart])
    layer = layer_of('type: "TanH"')
    layer.run_setup([in_place], [in_place])
    layer.run_forward([in_place], [in_place])
    np.testing.assert_array_equal(in_place.data, top.data)
    top.diff[...] = in_place.diff[...] = random_blob(2, 3, seed=3).data
    layer.backward([top], [True], [apart])
    layer.backward([in_place], [True], [in_place])
    np.testing.assert_array_equal(in_place.diff, apart.diff)


def test_without_propagate_down_the_diff_stays() -> None:
    bottom = random_blob(2, 3)
    layer = layer_of('type: "TanH"')
    top = run(layer, [bottom])
    untouched(bottom)
    layer.backward(top, [False], [bottom])
    assert_untouched(bottom)


@pytest.mark.parametrize("shape", [(0, 3), (), (1,)])
def test_any_shape_will_do(shape: tuple[int, ...]) -> None:
    bottom = random_blob(*shape)
    layer = layer_of('type: "TanH"')
    (top,) = set_up(layer, [bottom])
    layer.run_forward([bottom], [top])
    layer.backward([top], [True], [bottom])
    assert top.shape == bottom.diff.shape == shape
