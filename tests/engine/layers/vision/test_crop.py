import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos.errors import NetError
from tests.engine.support import assert_nothing_is_allocated, assert_untouched, layer_of, random_blob, run, untouched


def text(axis: int = 2, offsets: tuple[int, ...] = ()) -> str:
    return f'type: "Crop" crop_param {{ axis: {axis} ' + " ".join(f"offset: {offset}" for offset in offsets) + " }"


@st.composite
def crops(draw: st.DrawFn) -> tuple[tuple[int, ...], int, tuple[int, ...], tuple[int, ...]]:
    """A shape, an axis, the offsets and sizes from it on."""
    shape = tuple(draw(st.lists(st.integers(0, 4), min_size=1, max_size=5)))
    axis = draw(st.integers(0, len(shape) - 1))
    offsets = tuple(draw(st.integers(0, size)) for size in shape[axis:])
    sizes = tuple(draw(st.integers(0, size - offset)) for size, offset in zip(shape[axis:], offsets, strict=True))
    return shape, axis, offsets, sizes


@given(crops(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_window_is_cut_out_and_the_rest_gets_no_gradient(
    crop: tuple[tuple[int, ...], int, tuple[int, ...], tuple[int, ...]], from_the_end: bool
) -> None:
    shape, axis, offsets, sizes = crop
    # What the reference has before the axis does not count.
    bottom = [random_blob(*shape), random_blob(*(1,) * axis, *sizes)]
    layer = layer_of(text(axis - len(shape) if from_the_end else axis, offsets))
    (top,) = run(layer, bottom)
    assert top.shape == (*shape[:axis], *sizes)
    starts = (*(0,) * axis, *offsets)
    top.diff[...] = random_blob(*top.shape, seed=3).data
    expected = np.zeros(shape, np.float32)
    for place in np.ndindex(*top.shape):
        source = tuple(start + at for start, at in zip(starts, place, strict=True))
        assert top.data[place] == bottom[0].data[source]
        expected[source] = top.diff[place]
    bottom[0].diff.fill(5)
    layer.run_backward([top], [True, False], bottom)
    np.testing.assert_array_equal(bottom[0].diff, expected)


@pytest.mark.parametrize(("offsets", "start"), [((), (0, 0)), ((1,), (1, 1)), ((2, 1), (2, 1))])
def test_images_are_cropped_by_default_with_one_offset_for_each_or_all_sides(
    offsets: tuple[int, ...], start: tuple[int, int]
) -> None:
    options = " ".join(f"offset: {offset}" for offset in offsets)
    bottom = [random_blob(2, 3, 6, 5), random_blob(2, 9, 4, 3)]
    (top,) = run(layer_of(f'type: "Crop" crop_param {{ {options} }}'), bottom)
    row, column = start
    np.testing.assert_array_equal(top.data, bottom[0].data[:, :, row : row + 4, column : column + 3])


@pytest.mark.parametrize(
    ("axis", "offsets", "reference"), [(2, (1, 0), (1, 1, 2, 2)), (1, (), (1, 2, 1, 3)), (-1, (1,), (1, 1, 1, 2))]
)
def test_the_gradient_is_right(axis: int, offsets: tuple[int, ...], reference: tuple[int, ...]) -> None:
    bottom = [random_blob(1, 2, 3, 3), random_blob(*reference)]
    assert GradientChecker().check(layer_of(text(axis, offsets)), bottom, [Blob()])


def test_without_propagate_down_the_diffs_stay() -> None:
    bottom = [random_blob(1, 1, 3, 3), random_blob(1, 1, 2, 2)]
    layer = layer_of(text())
    top = run(layer, bottom)
    for blob in bottom:
        untouched(blob)
    layer.run_backward(top, [False, False], bottom)
    for blob in bottom:
        assert_untouched(blob)


def test_the_reference_gets_a_gradient_of_zero() -> None:
    bottom = [random_blob(1, 1, 3, 3), random_blob(1, 1, 2, 2)]
    layer = layer_of(text())
    top = run(layer, bottom)
    untouched(bottom[1])
    layer.run_backward(top, [True, True], bottom)
    assert not bottom[1].diff.any()


def test_the_window_follows_the_shapes() -> None:
    bottom = [random_blob(1, 1, 5, 5), random_blob(1, 1, 2, 2)]
    layer = layer_of(text(offsets=(1,)))
    top = run(layer, bottom)
    bottom[1].reshape(1, 1, 3, 4)
    layer.run_forward(bottom, top)
    np.testing.assert_array_equal(top[0].data, bottom[0].data[:, :, 1:4, 1:5])


def test_a_steady_state_allocates_nothing() -> None:
    bottom = [random_blob(4, 8, 40, 40), random_blob(4, 8, 30, 30)]
    assert_nothing_is_allocated(layer_of(text(offsets=(5,))), bottom)


@pytest.mark.parametrize(
    ("layer", "reference", "message"),
    [
        (text(4), (2, 3, 4, 4), r"crop_param.axis is 4.*\(2, 3, 5, 6\)"),
        (text(-5), (2, 3, 4, 4), "crop_param.axis is -5"),
        (text(2, (1, 1, 1)), (2, 3, 4, 4), r"offset is given 3 times, but 2 axes of \(2, 3, 5, 6\) are cropped"),
        (text(1, (1, 1)), (2, 3, 4, 4), "offset is given 2 times, but 3 axes"),
        (text(2, (2,)), (2, 3, 4, 4), "axis 2 of size 5 cannot be cropped to 4 at offset 2"),
        (text(2, (0, 3)), (2, 3, 4, 4), "axis 3 of size 6 cannot be cropped to 4 at offset 3"),
        (text(2), (2, 3, 4, 7), "axis 3 of size 6 cannot be cropped to 7 at offset 0"),
        (text(2), (2, 3, 4), r"reference, bottom\[1\], has shape \(2, 3, 4\), but 4 axes are needed"),
    ],
)
def test_what_cannot_be_is_refused(layer: str, reference: tuple[int, ...], message: str) -> None:
    with pytest.raises(NetError, match=message):
        run(layer_of(layer), [random_blob(2, 3, 5, 6), random_blob(*reference)])
