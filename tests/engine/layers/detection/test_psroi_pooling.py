import math

import numpy as np
import pytest

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

#: On a map of 6 x 7 in images of twice that size.
ROIS = [
    [0, 2, 2, 9, 7],
    [1, 4, 4, 4, 4],
    [1, -5, 6, 30, 20],
    [0, 40, 40, 50, 60],
    [1, 9, 9, 2, 3],
    [0, 1.5, 2.5, 7.2, 9],
]


def text(output_dim: int = 2, group: int = 3, scale: float = 0.5) -> str:
    fields = f"output_dim: {output_dim} group_size: {group} spatial_scale: {scale}"
    return f'type: "PSROIPooling" psroi_pooling_param {{ {fields} }}'


def bins(first: float, last: float, count: int, size: int, scale: float) -> list[range]:
    """What each bin of a ROI covers along one axis; corners of 0 and more, or whole ones, for Python's floor."""
    start, end = math.floor(first + 0.5) * scale, (math.floor(last + 0.5) + 1) * scale
    length = max(end - start, 0.1) / count
    return [
        range(
            min(max(math.floor(np.float32(i * length + start)), 0), size),
            min(max(math.ceil(np.float32((i + 1) * length + start)), 0), size),
        )
        for i in range(count)
    ]


def test_each_bin_is_the_mean_in_channels_of_its_own() -> None:
    x = random_blob(2, 18, 6, 7)
    (top,) = run(layer_of(text()), [x, blob_of(ROIS)])
    assert top.shape == (6, 2, 3, 3)
    for roi, (image, x1, y1, x2, y2) in enumerate(ROIS):
        for i, rows in enumerate(bins(y1, y2, 3, 6, 0.5)):
            for j, columns in enumerate(bins(x1, x2, 3, 7, 0.5)):
                for d in range(2):
                    values = [x.data[int(image), (d * 3 + i) * 3 + j, h, w] for h in rows for w in columns]
                    expected = np.mean(values) if values else 0
                    assert top.data[roi, d, i, j] == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_the_gradients_of_overlapping_rois_add_up() -> None:
    bottom = [random_blob(2, 4, 6, 7), blob_of(ROIS)]
    assert GradientChecker().check(layer_of(text(1, 2)), bottom, [Blob()], check_bottom=[0])


def test_no_rois_and_no_samples_pass() -> None:
    bottom = [Blob((0, 18, 4, 4)), Blob((0, 5))]
    layer = layer_of(text())
    top = run(layer, bottom)
    layer.run_backward(top, [True, False], bottom)
    assert top[0].shape == (0, 2, 3, 3)


def test_without_propagate_down_the_diffs_stay() -> None:
    bottom = [random_blob(2, 18, 6, 7), blob_of(ROIS)]
    layer = layer_of(text())
    top = run(layer, bottom)
    for blob in bottom:
        untouched(blob)
    layer.run_backward(top, [False, True], bottom)  # the ROIs have no gradient, whoever asks
    for blob in bottom:
        assert_untouched(blob)
    assert [layer.allow_force_backward(index) for index in (0, 1)] == [True, False]


def test_nothing_is_allocated_in_a_steady_state() -> None:
    assert_nothing_is_allocated(layer_of(text()), [random_blob(2, 18, 48, 64), blob_of(ROIS)])


@pytest.mark.parametrize(
    ("options", "shapes", "message"),
    [
        ({"output_dim": 0}, [(1, 18, 4, 4), (1, 5)], "output_dim is 0"),
        ({"group": -1}, [(1, 18, 4, 4), (1, 5)], "group_size is -1"),
        ({}, [(1, 17, 4, 4), (1, 5)], r"has 17 channels, expected 18: output_dim 2 x group_size 3 squared"),
        ({}, [(1, 18, 4), (1, 5)], r"bottom\[0\] has shape \(1, 18, 4\)"),
        ({}, [(1, 18, 4, 4), (1, 4)], r"bottom\[1\] has shape \(1, 4\)"),
        ({}, [(1, 18, 4, 4)], "takes exactly 2 bottom"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, int], shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(NetError, match=message) as caught:
        run(layer_of(text(**options)), [Blob(shape) for shape in shapes])
    assert caught.value.layer == "l"


def test_rois_in_no_image_are_refused() -> None:
    with pytest.raises(NetError, match="ROI 0 is"):
        run(layer_of(text()), [Blob((1, 18, 4, 4)), blob_of([[1, 0, 0, 1, 1]])])
