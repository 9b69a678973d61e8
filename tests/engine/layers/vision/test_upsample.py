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
    native_net,
    random_blob,
    run,
    untouched,
)


def text(options: str = "") -> str:
    return f'type: "Upsample" upsample_param {{ {options} }}'


def pooled(num: int = 2, channels: int = 3, height: int = 2, width: int = 3, image: int = 24) -> list[Blob]:
    """A blob, and a mask with a different place of an image for each of its values."""
    rng = np.random.default_rng(3)
    places = np.stack([rng.permutation(image)[: height * width] for _ in range(num * channels)])
    return [random_blob(num, channels, height, width), blob_of(places.reshape(num, channels, height, width))]


@pytest.mark.parametrize("options", ["", "scale: 2", "scale_h: 2 scale_w: 2", "upsample_h: 4 upsample_w: 6 scale: 9"])
def test_each_value_goes_to_its_place(options: str) -> None:
    bottom = pooled()
    (top,) = run(layer_of(text(options)), bottom)
    expected = np.zeros((2, 3, 24), np.float32)
    for n, c, h, w in np.ndindex(2, 3, 2, 3):
        expected[n, c, int(bottom[1].data[n, c, h, w])] = bottom[0].data[n, c, h, w]
    np.testing.assert_array_equal(top.data, expected.reshape(2, 3, 4, 6))


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ("scale: 3", (6, 9)),
        ("scale_h: 2 scale_w: 4", (4, 12)),
        ("pad_out_h: true", (3, 6)),
        ("pad_out_w: true scale_h: 5 scale_w: 2", (10, 5)),
        ("upsample_h: 3 upsample_w: 4", (3, 4)),
    ],
)
def test_the_size_comes_from_the_parameters(options: str, size: tuple[int, int]) -> None:
    (top,) = run(layer_of(text(options)), pooled(image=6))
    assert top.shape == (2, 3, *size)


def test_it_brings_maxima_back_to_where_pooling_found_them() -> None:
    net = native_net(
        'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 5 dim: 7 } } }'
        'layer { name: "pool" type: "Pooling" bottom: "x" top: "p" top: "mask" '
        "pooling_param { kernel_size: 2 stride: 2 } }"
        'layer { name: "up" bottom: "p" bottom: "mask" top: "y" type: "Upsample" upsample_param '
        "{ upsample_h: 5 upsample_w: 7 } }"
    )
    with net:
        net.blobs["x"].data[...] = random_blob(2, 3, 5, 7).data
        net.forward()
        x, y = net.blobs["x"].data, net.blobs["y"].data
        assert np.count_nonzero(y) == 2 * 3 * 3 * 4
        np.testing.assert_array_equal(y[y != 0], x[y != 0])


def test_of_several_values_with_one_place_the_last_counts_and_all_get_its_gradient() -> None:
    bottom = [blob_of([[[[1, 2]]]]), blob_of([[[[3, 3]]]])]
    layer = layer_of(text())
    (top,) = run(layer, bottom)
    np.testing.assert_array_equal(top.data, [[[[0, 0, 0, 2], [0, 0, 0, 0]]]])
    top.diff[...] = np.arange(8).reshape(top.shape)
    layer.run_backward([top], [True, False], bottom)
    np.testing.assert_array_equal(bottom[0].diff, [[[[3, 3]]]])


def test_the_gradient_is_right() -> None:
    assert GradientChecker().check(layer_of(text()), pooled(), [Blob()], check_bottom=[0])


def test_the_mask_gets_no_gradient() -> None:
    bottom = pooled()
    layer = layer_of(text())
    top = run(layer, bottom)
    untouched(bottom[1])
    layer.run_backward(top, [True, True], bottom)
    assert_untouched(bottom[1])
    assert [layer.allow_force_backward(index) for index in (0, 1)] == [True, False]


def test_a_size_by_scale_follows_the_bottom() -> None:
    layer = layer_of(text())
    top = run(layer, pooled())
    layer.run_forward(pooled(1, 2, 4, 4), top)
    assert top[0].shape == (1, 2, 8, 8)


def test_a_batch_without_samples_passes() -> None:
    bottom = [Blob((0, 3, 2, 2)), Blob((0, 3, 2, 2))]
    layer = layer_of(text())
    top = run(layer, bottom)
    layer.run_backward(top, [True, False], bottom)
    assert top[0].shape == (0, 3, 4, 4)


def test_without_propagate_down_the_diff_stays() -> None:
    bottom = pooled()
    layer = layer_of(text())
    top = run(layer, bottom)
    untouched(bottom[0])
    layer.run_backward(top, [False, False], bottom)
    assert_untouched(bottom[0])


def test_nothing_is_allocated_in_a_steady_state() -> None:
    assert_nothing_is_allocated(layer_of(text()), pooled(4, 16, 32, 32, image=4096))


@pytest.mark.parametrize("place", [-1, 24, np.nan, np.inf])
def test_a_mask_with_a_place_outside_the_image_is_refused(place: float) -> None:
    bottom = pooled()
    bottom[1].data[1, 2, 0, 1] = place
    with pytest.raises(NetError, match=r"the mask holds places from .*in an image of \(4, 6\) they go from 0 to 23"):
        run(layer_of(text()), bottom)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("scale: 1", r"scale \(1, 1\) is less than 2"),
        ("scale_h: 2 scale_w: 1", r"scale \(2, 1\) is less than 2"),
        ("scale_h: 2", "only one of scale_h and scale_w"),
        ("scale: 2 scale_h: 2 scale_w: 2", "both scale and scale_h, scale_w"),
        ("upsample_h: 4", "only one of upsample_h and upsample_w"),
        ("upsample_h: 4 upsample_w: 1", r"upsample size \(4, 1\) is less than 2"),
        ("scale: 3 pad_out_h: true", r"with scale \(3, 3\), expected 2"),
        ("scale_h: 2 scale_w: 3 pad_out_w: true", r"with scale \(2, 3\), expected 2"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(options: str, message: str) -> None:
    with pytest.raises(NetError, match=message) as caught:
        run(layer_of(text(options)), pooled())
    assert caught.value.layer == "l"


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(2, 2), (2, 2)], r"bottom shapes are \(2, 2\) and \(2, 2\) \(the mask\), expected the same 4 axes"),
        ([(1, 2, 2, 2), (1, 2, 2, 3)], r"and \(1, 2, 2, 3\) \(the mask\)"),
        ([(1, 2, 2, 2)], "takes exactly 2 bottom"),
    ],
)
def test_bottoms_that_do_not_fit_are_refused(shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(NetError, match=message):
        run(layer_of(text()), [Blob(shape) for shape in shapes])
