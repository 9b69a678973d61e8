import math

import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError
from tests.engine.support import (
    assert_nothing_is_allocated,
    assert_untouched,
    blob_of,
    distinct_blob,
    layer_of,
    random_blob,
    run,
    untouched,
)

SIZES = [(8, 8), (8, 7), (6, 9), (4, 4)]


def text(height: int, pool: str = "MAX") -> str:
    return f'type: "SPP" spp_param {{ pyramid_height: {height} pool: {pool} }}'


def bins_of(size: int, bins: int) -> list[tuple[int, int, int]]:
    """Along one axis, for each bin where it starts and ends in the image, and its length with the padding."""
    side = math.ceil(size / bins)
    pad = (side * bins - size + 1) // 2
    spans = []
    for index in range(bins):
        start = index * side - pad
        end = min(start + side, size + pad)
        spans.append((max(start, 0), min(start + side, size), end - start))
    return spans


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pool", ["MAX", "AVE"])
def test_each_level_pools_twice_as_many_bins(pool: str, size: tuple[int, int]) -> None:
    bottom = random_blob(2, 3, *size)
    (top,) = run(layer_of(text(3, pool)), [bottom])
    expected = []
    for bins in (1, 2, 4):
        level = np.empty((2, 3, bins, bins))
        for row, (top_edge, bottom_edge, height) in enumerate(bins_of(size[0], bins)):
            for column, (left, right, width) in enumerate(bins_of(size[1], bins)):
                region = bottom.data[:, :, top_edge:bottom_edge, left:right]
                level[:, :, row, column] = (
                    region.max(axis=(2, 3)) if pool == "MAX" else region.sum(axis=(2, 3)) / (height * width)
                )
        expected.append(level.reshape(2, -1))
    assert top.shape == (2, 3 * (1 + 4 + 16))
    np.testing.assert_allclose(top.data, np.concatenate(expected, axis=1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize("height", [1, 3])
def test_the_gradient_is_right(height: int, pool: str, size: tuple[int, int]) -> None:
    layer, bottom, top = layer_of(text(height, pool)), distinct_blob(1, 2, *size), Blob()
    layer.run_setup([bottom], [top])
    diff = random_blob(*top.shape, seed=5).data
    assert GradientChecker(threshold=2e-3).check(layer, [bottom], [top], top_diffs=[diff])


def test_one_level_keeps_four_axes() -> None:
    bottom = random_blob(2, 3, 5, 4)
    (top,) = run(layer_of(text(1)), [bottom])
    assert top.shape == (2, 3, 1, 1)
    np.testing.assert_array_equal(top.data[..., 0, 0], bottom.data.max(axis=(2, 3)))


def test_images_of_any_size_give_the_same_length() -> None:
    bottom = random_blob(2, 3, 8, 8)
    layer = layer_of(text(2))
    (top,) = run(layer, [bottom])
    for shape in ((2, 3, 5, 12), (4, 3, 2, 2), (1, 3, 9, 9)):
        image = distinct_blob(*shape)
        bottom.reshape(shape)
        bottom.data[...] = image.data
        layer.run_forward([bottom], [top])
        assert top.shape == (shape[0], 15)
        np.testing.assert_array_equal(top.data[:, :3], image.data.max(axis=(2, 3)))
        top.diff.fill(1)
        layer.backward([top], [True], [bottom])
        assert bottom.diff.sum() == 15 * shape[0]


def test_stochastic_pooling_draws_in_train_and_weighs_in_test() -> None:
    bottom = blob_of(np.abs(random_blob(1, 1, 4, 4).data) + 0.5)
    (drawn,) = run(layer_of(text(2, "STOCHASTIC")), [bottom])
    assert np.isin(drawn.data, bottom.data).all()
    (mean,) = run(layer_of(text(2, "STOCHASTIC"), phase=caffe_pb2.TEST), [bottom])
    assert mean.data[0, 0] == pytest.approx((bottom.data**2).sum() / bottom.data.sum(), rel=1e-5)


@pytest.mark.parametrize("height", [1, 2])
def test_a_batch_without_samples_passes(height: int) -> None:
    bottom = random_blob(0, 3, 4, 4)
    layer = layer_of(text(height))
    top = run(layer, [bottom])
    layer.backward(top, [True], [bottom])
    assert top[0].shape[0] == 0


def test_without_propagate_down_the_diff_stays() -> None:
    bottom = random_blob(1, 2, 4, 4)
    layer = layer_of(text(2))
    top = run(layer, [bottom])
    untouched(bottom)
    layer.backward(top, [False], [bottom])
    assert_untouched(bottom)


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
def test_a_steady_state_allocates_nothing(pool: str) -> None:
    assert_nothing_is_allocated(layer_of(text(3, pool)), [random_blob(8, 16, 32, 32)])


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1, 1, 4, 4), text(0), "pyramid_height is 0"),
        ((1, 4, 4), text(2), "3 axes, expected 4"),
        ((1, 1, 3, 3), text(3), r"image size \(3, 3\) is too small for 4 x 4 bins"),
        ((1, 1, 4, 5), text(2, "STOCHASTIC"), "padding is given, but pool is STOCHASTIC"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(shape: tuple[int, ...], options: str, message: str) -> None:
    with pytest.raises(NetError, match=message) as caught:
        run(layer_of(options), [random_blob(*shape)])
    assert caught.value.layer == "l"
