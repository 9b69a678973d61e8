import math

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
    distinct_blob,
    layer_of,
    run,
    untouched,
)


def text(height: int = 2, width: int = 3, scale: float = 0.5) -> str:
    fields = f"pooled_h: {height} pooled_w: {width} spatial_scale: {scale}"
    return f'type: "ROIPooling" roi_pooling_param {{ {fields} }}'


#: On a map of 6 x 7 in images of twice that size.
ROIS = {
    "inside": [0, 2, 2, 9, 7],
    "one place": [1, 4, 4, 4, 4],
    "smaller than the bins": [0, 2, 4, 4, 5],
    "over the border": [1, -5, 6, 30, 20],
    "wholly outside": [0, 40, 40, 50, 60],
    "wrong way round": [1, 9, 9, 2, 3],
    "halves are rounded away from zero": [0, 1, 3, 7, 9],
    "negative halves": [1, -1, -3, 5, 5],
}


def round_c(value: float) -> int:
    return math.floor(value + 0.5) if value >= 0 else math.ceil(value - 0.5)


def bins(first: float, last: float, count: int, size: int, scale: float) -> list[range]:
    """What each bin of a ROI covers along one axis."""
    start, end = round_c(first * scale), round_c(last * scale)
    length = np.float32(max(end - start + 1, 1)) / np.float32(count)
    return [
        range(
            min(max(math.floor(np.float32(i) * length) + start, 0), size),
            min(max(math.ceil(np.float32(i + 1) * length) + start, 0), size),
        )
        for i in range(count)
    ]


def pooled(x: np.ndarray, roi: list[float], height: int, width: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """The maxima of one ROI and their places (-1 for none), place by place."""
    image = x[int(roi[0])]
    maxima = np.zeros((len(image), height, width), np.float32)
    places = np.full(maxima.shape, -1)
    for i, rows in enumerate(bins(roi[2], roi[4], height, image.shape[1], scale)):
        for j, columns in enumerate(bins(roi[1], roi[3], width, image.shape[2], scale)):
            for c, channel in enumerate(image):
                best = None
                for row in rows:
                    for column in columns:
                        if best is None or channel[row, column] > best:
                            best = channel[row, column]
                            maxima[c, i, j], places[c, i, j] = best, row * image.shape[2] + column
    return maxima, places


@pytest.mark.parametrize("roi", ROIS)
def test_each_bin_gets_its_maximum_and_passes_the_gradient_to_it(roi: str) -> None:
    x = distinct_blob(2, 3, 6, 7)
    bottom = [x, blob_of([ROIS[roi]])]
    layer = layer_of(text())
    (top,) = run(layer, bottom)
    maxima, places = pooled(x.data, ROIS[roi], 2, 3, 0.5)
    np.testing.assert_array_equal(top.data[0], maxima)
    top.diff[...] = np.arange(1, 19).reshape(top.shape)
    layer.run_backward([top], [True, False], bottom)
    expected = np.zeros((2, 3, 42))
    for (c, i, j), place in np.ndenumerate(places):
        if place >= 0:
            expected[int(ROIS[roi][0]), c, place] += top.diff[0, c, i, j]
    np.testing.assert_array_equal(x.diff, expected.reshape(x.shape))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-20, 40, width=32), min_size=4, max_size=4), st.integers(1, 4), st.integers(1, 5))
def test_any_roi_is_pooled_as_place_by_place(corners: list[float], height: int, width: int) -> None:
    x = distinct_blob(1, 2, 6, 7)
    (top,) = run(layer_of(text(height, width)), [x, blob_of([[0, *corners]])])
    np.testing.assert_array_equal(top.data[0], pooled(x.data, [0, *corners], height, width, 0.5)[0])


def test_the_gradients_of_overlapping_rois_add_up() -> None:
    rois = blob_of(list(ROIS.values()))
    assert GradientChecker().check(layer_of(text()), [distinct_blob(2, 1, 6, 7), rois], [Blob()], check_bottom=[0])


def test_of_equal_maxima_the_first_row_by_row_gets_the_gradient() -> None:
    x = blob_of([[[[0, 0, 5], [5, 0, 0], [0, 5, 5]]]])
    layer = layer_of(text(1, 1, 1))
    bottom = [x, blob_of([[0, 0, 0, 2, 2]])]
    top = run(layer, bottom)
    top[0].diff.fill(1)
    layer.run_backward(top, [True, False], bottom)
    np.testing.assert_array_equal(x.diff, [[[[0, 0, 1], [0, 0, 0], [0, 0, 0]]]])


def test_a_nan_is_no_maximum() -> None:
    x = blob_of([[[[np.nan, 1], [2, np.nan]]]])
    (top,) = run(layer_of(text(1, 1, 1)), [x, blob_of([[0, 0, 0, 1, 1]])])
    assert top.data.item() == 2


def test_rois_may_have_more_axes() -> None:
    x = distinct_blob(2, 3, 6, 7)
    flat, deep = blob_of(list(ROIS.values())), Blob((len(ROIS), 5, 1, 1))
    deep.data[..., 0, 0] = flat.data
    tops = [run(layer_of(text()), [x, rois])[0].data for rois in (flat, deep)]
    np.testing.assert_array_equal(*tops)


def test_images_without_rois_get_a_gradient_of_zero() -> None:
    bottom = [distinct_blob(3, 1, 6, 7), blob_of([ROIS["one place"]])]
    layer = layer_of(text())
    top = run(layer, bottom)
    untouched(bottom[0])
    top[0].diff.fill(1)
    layer.run_backward(top, [True, False], bottom)
    assert not bottom[0].diff[[0, 2]].any()
    assert bottom[0].diff[1].sum() == 6


def test_no_rois_and_no_samples_pass() -> None:
    bottom = [Blob((0, 2, 4, 4)), Blob((0, 5))]
    layer = layer_of(text())
    top = run(layer, bottom)
    layer.run_backward(top, [True, False], bottom)
    assert top[0].shape == (0, 2, 2, 3)


def test_without_propagate_down_the_diffs_stay() -> None:
    bottom = [distinct_blob(2, 3, 6, 7), blob_of(list(ROIS.values()))]
    layer = layer_of(text())
    top = run(layer, bottom)
    for blob in bottom:
        untouched(blob)
    layer.run_backward(top, [False, True], bottom)  # the ROIs have no gradient, whoever asks
    for blob in bottom:
        assert_untouched(blob)
    assert [layer.allow_force_backward(index) for index in (0, 1)] == [True, False]


def test_nothing_is_allocated_in_a_steady_state() -> None:
    rois = blob_of([[i % 2, 2 * i, i, 40 + i, 30 + i] for i in range(20)])
    assert_nothing_is_allocated(layer_of(text()), [distinct_blob(2, 64, 48, 64), rois])


@pytest.mark.parametrize(
    ("fields", "message"),
    [("pooled_h: 2", r"pooled_h, pooled_w are \(2, 0\)"), ("pooled_w: 2", r"pooled_h, pooled_w are \(0, 2\)")],
)
def test_parameters_that_do_not_fit_are_refused(fields: str, message: str) -> None:
    with pytest.raises(NetError, match=message):
        run(layer_of(f'type: "ROIPooling" roi_pooling_param {{ {fields} }}'), [Blob((1, 1, 2, 2)), Blob((1, 5))])


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(1, 2, 2), (3, 5)], r"bottom\[0\] has shape \(1, 2, 2\), expected 4 axes"),
        ([(1, 1, 2, 2), (3, 4)], r"bottom\[1\] has shape \(3, 4\), expected \(ROIs, 5\)"),
        ([(1, 1, 2, 2), (5,)], r"bottom\[1\] has shape \(5,\)"),
        ([(1, 1, 2, 2)], "takes exactly 2 bottom"),
    ],
)
def test_bottoms_that_do_not_fit_are_refused(shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(NetError, match=message):
        run(layer_of(text()), [Blob(shape) for shape in shapes])


@pytest.mark.parametrize("roi", [[2, 0, 0, 1, 1], [-1, 0, 0, 1, 1], [math.nan, 0, 0, 1, 1], [0, 0, math.inf, 1, 1]])
def test_rois_in_no_image_are_refused(roi: list[float]) -> None:
    with pytest.raises(NetError, match=r"ROI 1 is \[.*expected an image number from 0 to 1 and finite corners"):
        run(layer_of(text()), [Blob((2, 1, 3, 3)), blob_of([[0, 0, 0, 1, 1], roi])])
