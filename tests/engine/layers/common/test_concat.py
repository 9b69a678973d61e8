import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos.errors import NetError
from tests.engine.support import assert_nothing_is_allocated, assert_untouched, layer_of, random_blob, run, untouched


def text(options: str = "") -> str:
    return f'type: "Concat" concat_param {{ {options} }}'


@given(st.lists(st.integers(0, 3), min_size=4, max_size=4), st.integers(-4, 3), st.lists(st.integers(0, 4), min_size=1))
@settings(max_examples=40, deadline=None)
def test_bottoms_lie_side_by_side_along_the_axis(shape: list[int], axis: int, sizes: list[int]) -> None:
    shapes = [[*shape] for _ in sizes]
    for own, size in zip(shapes, sizes, strict=True):
        own[axis] = size
    bottom = [random_blob(*own, seed=number) for number, own in enumerate(shapes)]
    layer = layer_of(text(f"axis: {axis}"))
    (top,) = run(layer, bottom)
    np.testing.assert_array_equal(top.data, np.concatenate([blob.data for blob in bottom], axis=axis))
    top.diff[...] = random_blob(*top.shape, seed=50).data
    expected = np.split(top.diff.copy(), np.cumsum(sizes)[:-1], axis=axis)
    layer.run_backward([top], [True] * len(bottom), bottom)
    for blob, diff in zip(bottom, expected, strict=True):
        np.testing.assert_array_equal(blob.diff, diff)


@pytest.mark.parametrize(("options", "shape"), [("", (2, 5, 2)), ("concat_dim: 1", (2, 5, 2)), ("axis: -2", (2, 5, 2))])
def test_the_axis_is_the_channels_or_as_either_field_says(options: str, shape: tuple[int, ...]) -> None:
    (top,) = run(layer_of(text(options)), [random_blob(2, 2, 2), random_blob(2, 3, 2)])
    assert top.shape == shape


@pytest.mark.parametrize("options", ["axis: 0", "axis: 1", "concat_dim: 2"])
def test_the_gradient_is_right(options: str) -> None:
    bottom = [random_blob(2, 1, 2), random_blob(2, 1, 2, seed=2), random_blob(2, 1, 2, seed=3)]
    assert GradientChecker().check(layer_of(text(options)), bottom, [Blob()])


def test_the_gradient_of_a_single_bottom_is_right() -> None:
    assert GradientChecker().check(layer_of(text()), [random_blob(2, 3)], [Blob()])


def test_a_single_bottom_is_the_memory_of_the_top() -> None:
    bottom = random_blob(2, 3)
    (top,) = run(layer_of(text()), [bottom])
    assert np.shares_memory(top.data, bottom.data)
    assert np.shares_memory(top.diff, bottom.diff)


def test_without_propagate_down_the_diff_stays() -> None:
    bottom = [random_blob(2, 3), random_blob(2, 1)]
    layer = layer_of(text())
    top = run(layer, bottom)
    top[0].diff.fill(1)
    untouched(bottom[0])
    layer.run_backward(top, [False, True], bottom)
    assert_untouched(bottom[0])
    assert (bottom[1].diff == 1).all()


def test_bottoms_may_change_their_shapes() -> None:
    bottom = [random_blob(2, 3), random_blob(2, 1)]
    layer = layer_of(text())
    top = run(layer, bottom)
    for blob, channels in zip(bottom, (5, 7), strict=True):
        blob.reshape(4, channels)
        blob.data.fill(channels)
    layer.run_forward(bottom, top)
    np.testing.assert_array_equal(top[0].data, [[5] * 5 + [7] * 7] * 4)


@pytest.mark.parametrize("axis", [0, 1, 3])
def test_a_steady_state_allocates_nothing(axis: int) -> None:
    bottom = [random_blob(4, 8, 32, 32), random_blob(4, 8, 32, 32)]
    assert_nothing_is_allocated(layer_of(text(f"axis: {axis}")), bottom)


@pytest.mark.parametrize(
    ("options", "shapes", "message"),
    [
        ("axis: 0 concat_dim: 0", [(2, 3)], "both axis and concat_dim are given"),
        ("axis: 2", [(2, 3)], r"axis is 2.*\(2, 3\)"),
        ("axis: -3", [(2, 3)], "axis is -3"),
        ("concat_dim: 2", [(2, 3)], "concat_dim is 2"),
        ("concat_dim: 4294967295", [(2, 3)], "concat_dim is 4294967295"),
        ("", [(2, 3), (3, 3)], r"bottom\[1\] has shape \(3, 3\), bottom\[0\] \(2, 3\).*axis 1 alone"),
        ("", [(2, 3), (2, 3, 1)], r"bottom\[1\] has shape \(2, 3, 1\)"),
        ("", [(2, 3, 1), (2, 3)], r"bottom\[1\] has shape \(2, 3\)"),
        ("axis: 0", [(2, 3), (2, 3), (2, 4)], r"bottom\[2\] has shape \(2, 4\)"),
        ("", [], "at least 1 bottom"),
    ],
)
def test_what_cannot_be_is_refused(options: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(NetError, match=message):
        run(layer_of(text(options)), [random_blob(*shape) for shape in shapes])
