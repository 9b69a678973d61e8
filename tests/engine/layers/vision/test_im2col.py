import itertools

import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos.errors import NetError
from tests.engine.support import (
    assert_nothing_is_allocated,
    assert_untouched,
    layer_of,
    random_blob,
    run,
    untouched,
)

CASES = {
    "plain": ((2, 3, 4, 5), "kernel_size: 3"),
    "stride and pad": ((2, 2, 5, 5), "kernel_size: 3 stride: 2 pad: 1"),
    "dilation": ((1, 2, 6, 7), "kernel_size: 2 dilation: 3 pad: 1"),
    "height and width": ((1, 2, 5, 5), "kernel_h: 3 kernel_w: 1 stride_h: 1 stride_w: 2 pad_h: 0 pad_w: 1"),
    "1x1": ((2, 2, 3, 3), "kernel_size: 1"),
    "one axis": ((2, 2, 6), "kernel_size: 3 pad: 1"),
    "three axes": ((1, 2, 3, 4, 3), "kernel_size: 2 kernel_size: 3 kernel_size: 1 stride: 2 pad: 1"),
    "channels at axis 2": ((2, 2, 3, 4, 4), "kernel_size: 3 axis: 2"),
    "channels from the end": ((2, 3, 4, 4), "kernel_size: 3 axis: -3"),
}


def text(options: str) -> str:
    return f'type: "Im2col" convolution_param {{ {options} }}'


@pytest.mark.parametrize("case", CASES)
def test_every_element_of_the_kernel_gets_a_channel(case: str) -> None:
    shape, options = CASES[case]
    layer = layer_of(text(options))
    bottom = random_blob(*shape)
    (top,) = run(layer, [bottom])
    window = layer._window  # type: ignore[attr-defined]
    axes = len(window.kernel)
    images = bottom.data.reshape(-1, *shape[-axes - 1 :])
    padded = np.pad(images, [(0, 0), (0, 0), *((pad, pad) for pad in window.pad)])
    columns = top.data.reshape(len(images), *top.shape[-axes - 1 :])
    elements = list(itertools.product(*map(range, window.kernel)))
    assert columns.shape[1] == images.shape[1] * len(elements)
    for number, channel in itertools.product(range(len(elements)), range(images.shape[1])):
        for place in np.ndindex(columns.shape[2:]):
            at = tuple(
                p * stride + e * dilation
                for p, stride, e, dilation in zip(place, window.stride, elements[number], window.dilation, strict=True)
            )
            actual = columns[(slice(None), channel * len(elements) + number, *place)]
            np.testing.assert_array_equal(actual, padded[(slice(None), channel, *at)])


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_right(case: str) -> None:
    shape, options = CASES[case]
    bottom, top = random_blob(*shape), Blob()
    layer = layer_of(text(options))
    layer.run_setup([bottom], [top])
    assert GradientChecker().check(layer, [bottom], [top], top_diffs=[random_blob(*top.shape, seed=5).data])


def test_an_empty_batch_passes() -> None:
    bottom = random_blob(0, 2, 4, 4)
    layer = layer_of(text("kernel_size: 3"))
    top = run(layer, [bottom])
    layer.backward(top, [True], [bottom])
    assert top[0].shape == (0, 18, 2, 2)


def test_without_propagate_down_the_diff_stays() -> None:
    bottom = random_blob(1, 1, 4, 4)
    layer = layer_of(text("kernel_size: 3"))
    top = run(layer, [bottom])
    untouched(bottom)
    layer.backward(top, [False], [bottom])
    assert_untouched(bottom)


def test_a_steady_state_allocates_nothing() -> None:
    assert_nothing_is_allocated(layer_of(text("kernel_size: 3 pad: 1")), [random_blob(2, 8, 64, 64)])


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((2, 3, 4, 4), "", "kernel_size is given 0 times"),
        ((2, 3, 4, 4), "kernel_size: 0", "expected 1 or more"),
        ((2, 3, 4, 4), "kernel_size: 3 stride: 0", "stride is"),
        ((2, 3, 4, 4), "kernel_size: 5", r"spatial shape \(4, 4\) is smaller than the kernel \(5, 5\)"),
        ((2, 3), "kernel_size: 1", r"bottom shape \(2, 3\) has no spatial axes behind axis 1"),
        ((2, 3, 4, 4), "kernel_size: 1 axis: 4", "convolution_param.axis is 4"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(shape: tuple[int, ...], options: str, message: str) -> None:
    with pytest.raises(NetError, match=message) as caught:
        run(layer_of(text(options)), [random_blob(*shape)])
    assert caught.value.layer == "l"


def test_another_number_of_axes_than_at_setup_is_refused() -> None:
    bottom = random_blob(2, 3, 4, 4)
    layer = layer_of(text("kernel_size: 3"))
    top = run(layer, [bottom])
    bottom.reshape(2, 3, 4)
    with pytest.raises(NetError, match="has 3 axes, had 4 before"):
        layer.run_forward([bottom], top)
