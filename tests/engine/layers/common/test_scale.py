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

GAUSSIAN = 'filler { type: "gaussian" } bias_filler { type: "gaussian" }'


def text(axis: int = 1, num_axes: int = 1, bias: bool = True, more: str = GAUSSIAN) -> str:
    fields = f"axis: {axis} num_axes: {num_axes} {'bias_term: true' if bias else ''}"
    return f'type: "Scale" scale_param {{ {fields} {more} }}'


@pytest.mark.parametrize("bound", [1, 1 << 18])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_params_are_multiplied_and_added_along_their_axes(
    case: str, bias: bool, bound: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_VALUES", bound)
    shape, axis, num_axes, operand_shape = CASES[case]
    bottom = random_blob(*shape)
    layer = layer_of(text(axis, num_axes, bias))
    (top,) = run(layer, [bottom])
    assert [blob.shape for blob in layer.params] == [operand_shape] * (1 + bias)
    factor, addend = broadcast(layer.params[0].data, shape, axis), 0.0
    if bias:
        addend = broadcast(layer.params[1].data, shape, axis)
    np.testing.assert_allclose(top.data, bottom.data * factor + addend, rtol=1e-6)
    top.diff[...] = dy = random_blob(*shape, seed=3).data
    layer.run_backward([top], [True], [bottom])
    np.testing.assert_allclose(bottom.diff, dy * factor, rtol=1e-6)
    expected = [sum_like(dy * bottom.data, layer.params[0].data, axis), sum_like(dy, layer.params[0].data, axis)]
    for blob, diff in zip(layer.params, expected[: 1 + bias], strict=True):
        np.testing.assert_allclose(blob.diff, diff, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_a_second_bottom_takes_the_place_of_the_factor(case: str, bias: bool) -> None:
    shape, axis, _, operand_shape = CASES[case]
    bottom = [random_blob(*shape), random_blob(*operand_shape, seed=5)]
    layer = layer_of(text(axis, bias=bias))
    (top,) = run(layer, bottom)
    assert [blob.shape for blob in layer.params] == [operand_shape] * bias
    addend = broadcast(layer.params[0].data, shape, axis) if bias else 0
    expected = bottom[0].data * broadcast(bottom[1].data, shape, axis) + addend
    np.testing.assert_allclose(top.data, expected, rtol=1e-6)
    top.diff[...] = dy = random_blob(*shape, seed=3).data
    for _ in range(2):  # diffs of bottoms are set, not added to
        layer.run_backward([top], [True, True], bottom)
    products = sum_like(dy * bottom[0].data, bottom[1].data, axis)
    np.testing.assert_allclose(bottom[1].diff, products, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("num_bottom", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
def test_the_gradient_is_right(case: str, num_bottom: int, bias: bool) -> None:
    shape, axis, num_axes, operand_shape = CASES[case]
    bottom = [random_blob(*shape), random_blob(*operand_shape, seed=5)][:num_bottom]
    assert GradientChecker().check(layer_of(text(axis, num_axes, bias)), bottom, [Blob()])


@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4), data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_axes_will_do(shape: list[int], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    num_axes = data.draw(st.integers(-1, len(shape) - axis % len(shape)))
    bottom = random_blob(*shape)
    layer = layer_of(text(axis, num_axes))
    (top,) = run(layer, [bottom])
    factor, addend = (broadcast(blob.data, tuple(shape), axis) for blob in layer.params)
    np.testing.assert_allclose(top.data, bottom.data * factor + addend, rtol=1e-6)


def test_without_fillers_nothing_changes() -> None:
    bottom = random_blob(2, 3)
    layer = layer_of('type: "Scale" scale_param { bias_term: true }')
    (top,) = run(layer, [bottom])
    np.testing.assert_array_equal(top.data, bottom.data)
    assert (layer.params[0].data == 1).all()
    assert (layer.params[1].data == 0).all()


@pytest.mark.parametrize("bound", [1, 1 << 18])
@pytest.mark.parametrize("num_bottom", [1, 2])
def test_in_place_gives_the_same_values_and_gradients(
    num_bottom: int, bound: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_VALUES", bound)
    others = [random_blob(3, seed=5)][: num_bottom - 1]
    apart, in_place = random_blob(2, 3, 4), random_blob(2, 3, 4)
    apart_layer, layer = layer_of(text()), layer_of(text())
    (top,) = run(apart_layer, [apart, *others])
    layer.run_setup([in_place, *others], [in_place])
    layer.param_propagate_down = [True] * len(layer.params)
    layer.run_forward([in_place, *others], [in_place])
    np.testing.assert_array_equal(in_place.data, top.data)
    in_place.data.fill(99)  # as a ReLU in place behind it would
    top.diff[...] = in_place.diff[...] = random_blob(2, 3, 4, seed=3).data
    apart_layer.run_backward([top], [True] * num_bottom, [apart, *others])
    expected = [blob.diff.copy() for blob in (*others, *apart_layer.params)]
    layer.run_backward([in_place], [True] * num_bottom, [in_place, *others])
    np.testing.assert_array_equal(in_place.diff, apart.diff)
    for blob, diff in zip((*others, *layer.params), expected, strict=True):
        np.testing.assert_array_equal(blob.diff, diff)


@pytest.mark.parametrize(("axis", "num_axes"), [(1, 1), (0, -1), (0, 1)], ids=["channels", "all axes", "the batch"])
def test_gradients_of_params_add_up(axis: int, num_axes: int) -> None:
    bottom = random_blob(2, 3)
    layer = layer_of(text(axis, num_axes))
    top = run(layer, [bottom])
    top[0].diff[...] = random_blob(2, 3, seed=2).data
    layer.run_backward(top, [True], [bottom])
    once = [blob.diff.copy() for blob in layer.params]
    layer.run_backward(top, [True], [bottom])
    for blob, diff in zip(layer.params, once, strict=True):
        np.testing.assert_allclose(blob.diff, 2 * diff, rtol=1e-5)


@pytest.mark.parametrize("learns", [(False, True), (True, False)])
def test_params_that_do_not_learn_get_no_gradient(learns: tuple[bool, bool]) -> None:
    bottom = random_blob(2, 3)
    layer = layer_of(text())
    top = run(layer, [bottom])
    top[0].diff.fill(1)
    layer.param_propagate_down = list(learns)
    for blob in layer.params:
        untouched(blob)
    layer.run_backward(top, [True], [bottom])
    assert_untouched(layer.params[learns.index(False)])
    assert (layer.params[learns.index(True)].diff != 17).all()


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
    assert (layer.params[0].diff == 0).all()


@pytest.mark.parametrize("shape", [(8, 64, 12, 12), (256, 300), (2, 8, 64, 64)])
def test_in_a_steady_state_nothing_is_allocated(shape: tuple[int, ...]) -> None:
    assert_nothing_is_allocated(layer_of(text()), [random_blob(*shape)])


@pytest.mark.parametrize(
    ("shapes", "axis", "num_axes", "message"),
    [
        ([(2, 3)], 2, 1, r"scale_param.axis is 2, but the blob has shape \(2, 3\)"),
        ([(2, 3)], 1, 2, r"scale_param.num_axes is 2, but from axis 1 on bottom shape \(2, 3\) has only 1"),
        ([(2, 3)], 1, -2, r"scale_param.num_axes is -2"),
        ([(2, 3), (2,)], 1, 1, r"an operand of shape \(2,\) meets \(3,\) of bottom shape \(2, 3\) from axis 1 on"),
        ([(2, 3), (3, 4)], 1, 1, r"an operand of shape \(3, 4\) meets \(3,\)"),
        ([(2, 3), (3,)], 3, 1, r"scale_param.axis is 3"),
    ],
)
def test_axes_that_do_not_fit_are_refused(
    shapes: list[tuple[int, ...]], axis: int, num_axes: int, message: str
) -> None:
    with pytest.raises(NetError, match=message) as caught:
        run(layer_of(text(axis, num_axes)), [random_blob(*shape) for shape in shapes])
    assert caught.value.layer == "l"


def test_the_axes_that_the_bias_meets_must_stay_although_the_factor_is_a_bottom() -> None:
    bottom = [random_blob(2, 3), random_blob(2, 3)]
    layer = layer_of(text(axis=0))
    top = set_up(layer, bottom)
    for blob in bottom:
        blob.reshape(4, 3)
    with pytest.raises(NetError, match=r"an operand of shape \(2, 3\) meets \(4, 3\)"):
        layer.run_forward(bottom, top)
