import itertools

import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos.errors import NetError
from tests.engine.support import assert_nothing_is_allocated, assert_untouched, layer_of, random_blob, run, untouched


def text(order: tuple[int, ...]) -> str:
    return 'type: "Permute" permute_param { ' + " ".join(f"order: {axis}" for axis in order) + " }"


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_each_value_goes_where_the_order_says(order: tuple[int, ...]) -> None:
    bottom = random_blob(2, 3, 4, 5)
    layer = layer_of(text(order))
    (top,) = run(layer, [bottom])
    assert top.shape == tuple(bottom.shape[axis] for axis in order)
    top.diff[...] = 2 * top.data
    layer.run_backward([top], [True], [bottom])
    for place in np.ndindex(*bottom.shape):
        assert top.data[tuple(place[axis] for axis in order)] == bottom.data[place]
    np.testing.assert_array_equal(bottom.diff, 2 * bottom.data)


@pytest.mark.parametrize(("order", "shape"), [((), (2, 3, 4)), ((2,), (4, 2, 3)), ((1, 0), (3, 2, 4))])
def test_axes_that_are_not_named_follow(order: tuple[int, ...], shape: tuple[int, ...]) -> None:
    (top,) = run(layer_of(text(order)), [random_blob(2, 3, 4)])
    assert top.shape == shape


def test_an_order_that_changes_nothing_copies() -> None:
    bottom = random_blob(2, 3)
    (top,) = run(layer_of(text((0, 1))), [bottom])
    np.testing.assert_array_equal(top.data, bottom.data)
    assert not np.shares_memory(top.data, bottom.data)


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 0, 1), ()])
def test_the_gradient_is_right(order: tuple[int, ...]) -> None:
    assert GradientChecker().check(layer_of(text(order)), [random_blob(2, 3, 2)], [Blob()])


def test_the_bottom_may_change_its_shape() -> None:
    bottom = random_blob(2, 3)
    layer = layer_of(text((1,)))
    top = run(layer, [bottom])
    bottom.reshape(0, 5)
    layer.run_forward([bottom], top)
    layer.run_backward(top, [True], [bottom])
    assert top[0].shape == (5, 0)


def test_without_propagate_down_the_diff_stays() -> None:
    bottom = random_blob(2, 3)
    layer = layer_of(text((1, 0)))
    top = run(layer, [bottom])
    untouched(bottom)
    layer.run_backward(top, [False], [bottom])
    assert_untouched(bottom)


@pytest.mark.parametrize("order", [(0, 2, 3, 1), (3, 2, 1, 0)])
def test_a_steady_state_allocates_nothing(order: tuple[int, ...]) -> None:
    assert_nothing_is_allocated(layer_of(text(order)), [random_blob(4, 16, 40, 40)])


@pytest.mark.parametrize("order", [(0, 0), (2,), (0, 1, 1), (4294967295,)])
def test_an_order_that_cannot_be_is_refused(order: tuple[int, ...]) -> None:
    with pytest.raises(NetError, match=r"permute_param.order is \[.*\] for a bottom of shape \(2, 3\)") as caught:
        run(layer_of(text(order)), [random_blob(2, 3)])
    assert "from 0 to 1" in caught.value.remedy


def test_a_bottom_without_axes_has_none_to_name() -> None:
    (top,) = run(layer_of(text(())), [random_blob()])
    assert top.shape == ()
    with pytest.raises(NetError, match=r"order is \[0\] for a bottom of shape \(\)"):
        run(layer_of(text((0,))), [random_blob()])
