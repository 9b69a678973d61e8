import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos.errors import NetError
from tests.engine.support import assert_nothing_is_allocated, assert_untouched, layer_of, random_blob, run, untouched


def text(stride: int, *, reverse: bool = False) -> str:
    return f'type: "Reorg" reorg_param {{ stride: {stride} reverse: {str(reverse).lower()} }}'


def darknet_pairs(shape: tuple[int, ...], stride: int) -> list[tuple[int, int]]:
    """By Darknet's formula: offsets in the memory of the groups, and of the image that they come from."""
    num, channels, height, width = shape
    image_channels = channels // stride**2
    pairs = []
    for place, (sample, channel, row, column) in enumerate(np.ndindex(num, channels, height, width)):
        cell, image_channel = divmod(channel, image_channels)
        image_row = row * stride + cell // stride
        image_column = column * stride + cell % stride
        line = (sample * image_channels + image_channel) * height * stride + image_row
        pairs.append((place, line * width * stride + image_column))
    return pairs


SHAPES = pytest.mark.parametrize(("stride", "shape"), [(1, (2, 3, 2, 3)), (2, (2, 8, 4, 6)), (3, (1, 9, 3, 6))])


@SHAPES
def test_the_values_go_where_darknet_puts_them(stride: int, shape: tuple[int, ...]) -> None:
    bottom = random_blob(*shape)
    layer = layer_of(text(stride))
    (top,) = run(layer, [bottom])
    num, channels, height, width = shape
    assert top.shape == (num, channels * stride**2, height // stride, width // stride)
    for group, image in darknet_pairs(shape, stride):
        assert top.data.flat[group] == bottom.data.flat[image]
    top.diff[...] = 2 * top.data
    layer.run_backward([top], [True], [bottom])
    np.testing.assert_array_equal(bottom.diff, 2 * bottom.data)


@SHAPES
def test_reverse_puts_them_the_other_way(stride: int, shape: tuple[int, ...]) -> None:
    bottom = random_blob(*shape)
    layer = layer_of(text(stride, reverse=True))
    (top,) = run(layer, [bottom])
    num, channels, height, width = shape
    assert top.shape == (num, channels // stride**2, height * stride, width * stride)
    for group, image in darknet_pairs(shape, stride):
        assert top.data.flat[image] == bottom.data.flat[group]
    top.diff[...] = 2 * top.data
    layer.run_backward([top], [True], [bottom])
    np.testing.assert_array_equal(bottom.diff, 2 * bottom.data)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_gradient_is_right(reverse: bool) -> None:
    assert GradientChecker().check(layer_of(text(2, reverse=reverse)), [random_blob(1, 4, 2, 2)], [Blob()])


@pytest.mark.parametrize("reverse", [False, True])
def test_an_empty_batch_passes(reverse: bool) -> None:
    bottom = random_blob(0, 4, 2, 2)
    layer = layer_of(text(2, reverse=reverse))
    top = run(layer, [bottom])
    layer.run_backward(top, [True], [bottom])
    assert top[0].count == 0


def test_without_propagate_down_the_diff_stays() -> None:
    bottom = random_blob(1, 4, 2, 2)
    layer = layer_of(text(2))
    top = run(layer, [bottom])
    untouched(bottom)
    layer.run_backward(top, [False], [bottom])
    assert_untouched(bottom)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_steady_state_allocates_nothing(reverse: bool) -> None:
    assert_nothing_is_allocated(layer_of(text(2, reverse=reverse)), [random_blob(4, 16, 40, 40)])


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        ('type: "Reorg"', (1, 4, 2, 2), "stride is 0"),
        (text(2), (1, 6, 2, 2), r"stride is 2 for a bottom of shape \(1, 6, 2, 2\)"),
        (text(2), (1, 4, 3, 2), "stride is 2"),
        (text(2), (1, 4, 2, 3), "stride is 2"),
        (text(2), (1, 4, 4), "stride is 2"),
        (text(2, reverse=True), (1, 2, 3, 3), "stride is 2"),
    ],
)
def test_what_cannot_be_is_refused(layer: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(NetError, match=message):
        run(layer_of(layer), [random_blob(*shape)])
