import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.engine.layers import parts
from farlayer.protos.errors import NetError
from tests.engine.layers.common.operands import CASES, broadcast, sum_like
from tests.engine.support import (
    assert_nothing_is_allocated,
    assert_untouched,
    layer_of,
    random_blob,
    run,
    set_up,
    untouched,
)

GAUSSIAN = 'filler { type: "gaussian" }'


def text(axis: int = 1, num_axes: int = 1, more: str = GAUSSIAN) -> str:
    return f'type: "Bias" bias_param {{ axis: {axis} num_axes: {num_axes} {more} }}'


@pytest.mark.parametrize("bound", [1, 1 << 18])
@pytest.mark.parametrize("case", CASES)
def test_a_param_is_added_along_its_axes(case: str, bound: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_VALUES", bound)
    shape, axis, num_axes, operand_shape = CASES[case]
    bottom = random_blob(*shape)
    layer = layer_of(text(axis, num_axes))
    (top,) = run(layer, [bottom])
    bias = layer.params[0].data
    assert bias.shape == operand_shape
    assert bias.any()
    np.testing.assert_array_equal(top.data, bottom.data + broadcast(bias, shape, axis))
    top.diff[...] = random_blob(*shape, seed=3).data
    layer.run_backward([top], [True], [bottom])
    np.testing.assert_array_equal(bottom.diff, top.diff)
    np.testing.assert_allclose(layer.params[0].diff, sum_like(top.diff, bias, axis), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_a_second_bottom_takes_the_place_of_the_param(case: str) -> None:
    shape, axis, _, operand_shape = CASES[case]
    bottom = [random_blob(*shape), random_blob(*operand_shape, seed=5)]
    layer = layer_of(text(axis))
    (top,) = run(layer, bottom)
    assert not layer.params
    np.testing.assert_array_equal(top.data, bottom[0].data + broadcast(bottom[1].data, shape, axis))
    top.diff[...] = random_blob(*shape, seed=3).data
    for _ in range(2):  # diffs of bottoms are set, not added to
        layer.run_backward([top], [True, True], bottom)
    np.testing.assert_allclose(bottom[1].diff, sum_like(top.diff, bottom[1].data, axis), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("num_bottom", [1, 2])
def test_the_gradient_is_right(case: str, num_bottom: int) -> None:
    shape, axis, num_axes, operand_shape = CASES[case]
    bottom = [random_blob(*shape), random_blob(*operand_shape, seed=5)][:num_bottom]
    assert GradientChecker().check(layer_of(text(axis, num_axes)), bottom, [Blob()])


@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4), data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_axes_will_do(shape: list[int], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    num_axes = data.draw(st.integers(-1, len(shape) - axis % len(shape)))
    bottom = random_blob(*shape)
    layer = layer_of(text(axis, num_axes))
    (top,) = run(layer, [bottom])
    np.testing.assert_array_equal(top.data, bottom.data + broadcast(layer.params[0].data, tuple(shape), axis))


def test_without_a_filler_nothing_is_added() -> None:
    bottom = random_blob(2, 3)
    (top,) = run(layer_of('type: "Bias"'), [bottom])
    np.testing.assert_array_equal(top.data, bottom.data)


@pytest.mark.parametrize("num_bottom", [1, 2])
def test_in_place_gives_the_same_values_and_gradients(num_bottom: int) -> None:
    others = [random_blob(3, seed=5)][: num_bottom - 1]
    apart, in_place = random_blob(2, 3, 4), random_blob(2, 3, 4)
    apart_layer, layer = layer_of(text()), layer_of(text())
    (top,) = run(apart_layer, [apart, *others])
    layer.run_setup([in_place, *others], [in_place])
    layer.param_propagate_down = [True]
    layer.run_forward([in_place, *others], [in_place])
    np.testing.assert_array_equal(in_place.data, top.data)
    top.diff[...] = in_place.diff[...] = random_blob(2, 3, 4, seed=3).data
    apart_layer.run_backward([top], [True] * num_bottom, [apart, *others])
    expected = [blob.diff.copy() for blob in (*others, *apart_layer.params)]
    layer.run_backward([in_place], [True] * num_bottom, [in_place, *others])
    np.testing.assert_array_equal(in_place.diff, apart.diff)
    for blob, diff in zip((*others, *layer.params), expected, strict=True):
        np.testing.assert_array_equal(blob.diff, diff)


def test_gradients_of_the_param_add_up_where_it_learns() -> None:
    bottom = random_blob(2, 3)
    layer = layer_of(text())
    top = run(layer, [bottom])
    top[0].diff.fill(1)
    layer.params[0].diff.fill(10)
    layer.run_backward(top, [True], [bottom])
    assert (layer.params[0].diff == 12).all()
    layer.param_propagate_down = [False]
    layer.run_backward(top, [True], [bottom])
    assert (layer.params[0].diff == 12).all()


@pytest.mark.parametrize("propagate_down", [(False, True), (True, False)])
def test_without_propagate_down_the_diff_stays(propagate_down: tuple[bool, bool]) -> None:
    bottom = [random_blob(2, 3), random_blob(3)]
    layer = layer_of(text())
    top = run(layer, bottom)
    for blob in bottom:
        untouched(blob)
    layer.run_backward(top, propagate_down, bottom)
    assert_untouched(bottom[propagate_down.index(False)])
    assert (bottom[propagate_down.index(True)].diff == 0).all()


def test_an_empty_batch_has_gradient_0() -> None:
    bottom = [random_blob(0, 3, 2), random_blob(3)]
    layer = layer_of(text())
    top = run(layer, bottom)
    untouched(bottom[1])
    layer.run_backward(top, [True, True], bottom)
    assert top[0].shape == (0, 3, 2)
    assert (bottom[1].diff == 0).all()


@pytest.mark.parametrize("shape", [(8, 64, 12, 12), (256, 300), (2, 8, 64, 64)])
def test_in_a_steady_state_nothing_is_allocated(shape: tuple[int, ...]) -> None:
    assert_nothing_is_allocated(layer_of(text()), [random_blob(*shape)])


@pytest.mark.parametrize(
    ("shapes", "axis", "num_axes", "message"),
    [
        ([(2, 3)], 2, 1, r"bias_param.axis is 2, but the blob has shape \(2, 3\)"),
        ([(2, 3)], 1, 2, r"bias_param.num_axes is 2, but from axis 1 on bottom shape \(2, 3\) has only 1"),
        ([(2, 3)], 1, -2, r"bias_param.num_axes is -2"),
        ([(2, 3), (2,)], 1, 1, r"an operand of shape \(2,\) meets \(3,\) of bottom shape \(2, 3\) from axis 1 on"),
        ([(2, 3), (3, 4)], 1, 1, r"an operand of shape \(3, 4\) meets \(3,\)"),
        ([(2, 3), (3,)], 3, 1, r"bias_param.axis is 3"),
    ],
)
def test_axes_that_do_not_fit_are_refused(
    shapes: list[tuple[int, ...]], axis: int, num_axes: int, message: str
) -> None:
    with pytest.raises(NetError, match=message) as caught:
        run(layer_of(text(axis, num_axes)), [random_blob(*shape) for shape in shapes])
    assert caught.value.layer == "l"


def test_the_axes_that_the_param_meets_must_stay() -> None:
    bottom = random_blob(2, 3)
    layer = layer_of(text())
    top = set_up(layer, [bottom])
    bottom.reshape(4, 3, 2)
    layer.run_forward([bottom], top)
    assert top[0].shape == (4, 3, 2)
    bottom.reshape(2, 4)
    with pytest.raises(NetError, match=r"an operand of shape \(3,\) meets \(4,\) of bottom shape \(2, 4\)"):
        layer.run_forward([bottom], top)
