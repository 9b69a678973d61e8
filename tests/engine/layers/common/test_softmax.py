import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos.errors import NetError
from tests.engine.support import (
    assert_nothing_is_allocated,
    assert_untouched,
    blob_of,
    layer_of,
    random_blob,
    run,
    untouched,
)

AXES = [1, 0, -1, 2]


def text(axis: int) -> str:
    return f'type: "Softmax" softmax_param {{ axis: {axis} }}'


@pytest.mark.parametrize("axis", AXES)
def test_forward_is_the_normalized_exponential_along_the_axis(axis: int) -> None:
    bottom = random_blob(3, 4, 5)
    (top,) = run(layer_of(text(axis)), [bottom])
    exponential = np.exp(bottom.data.astype(np.float64))
    np.testing.assert_allclose(top.data, exponential / exponential.sum(axis=axis, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize("axis", AXES)
def test_the_gradient_is_right(axis: int) -> None:
    assert GradientChecker().check(layer_of(text(axis)), [random_blob(2, 3, 2)], [Blob()])


@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=4), data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_axis_of_any_shape_sums_to_1(shape: list[int], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    (top,) = run(layer_of(text(axis)), [random_blob(*shape)])
    assert (top.data > 0).all()
    np.testing.assert_allclose(top.data.sum(axis=axis), 1, rtol=1e-5)


def test_large_scores_do_not_overflow() -> None:
    (top,) = run(layer_of(text(1)), [blob_of([[1000, 1000, -1000]])])
    np.testing.assert_allclose(top.data, [[0.5, 0.5, 0]])


def test_in_place_gives_the_same_values_and_gradients() -> None:
    apart, in_place = random_blob(2, 3), random_blob(2, 3)
    (top,) = run(layer_of(text(1)), [apart])
    layer = layer_of(text(1))
    layer.run_setup([in_place], [in_place])
    layer.run_forward([in_place], [in_place])
    np.testing.assert_array_equal(in_place.data, top.data)
    top.diff[...] = in_place.diff[...] = random_blob(2, 3, seed=3).data
    layer.backward([top], [True], [apart])
    layer.backward([in_place], [True], [in_place])
    np.testing.assert_array_equal(in_place.diff, apart.diff)


def test_an_empty_batch_passes() -> None:
    bottom = random_blob(0, 3)
    layer = layer_of(text(1))
    top = run(layer, [bottom])
    layer.backward(top, [True], [bottom])
    assert top[0].shape == (0, 3)


def test_without_propagate_down_the_diff_stays() -> None:
    bottom = random_blob(2, 3)
    layer = layer_of(text(1))
    top = run(layer, [bottom])
    untouched(bottom)
    layer.backward(top, [False], [bottom])
    assert_untouched(bottom)


@pytest.mark.parametrize(("shape", "axis"), [((64, 1000), 1), ((4, 2, 100, 100), 1), ((1, 3000, 21), 2)])
def test_in_a_steady_state_nothing_is_allocated(shape: tuple[int, ...], axis: int) -> None:
    assert_nothing_is_allocated(layer_of(text(axis)), [random_blob(*shape)])


def test_an_axis_that_is_not_there_is_refused() -> None:
    with pytest.raises(NetError, match=r"layer 'l' \(Softmax\): softmax_param.axis is 2.*\(2, 3\)"):
        run(layer_of(text(2)), [random_blob(2, 3)])
