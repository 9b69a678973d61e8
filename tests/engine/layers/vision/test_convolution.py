import itertools

import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos.errors import NetError
from tests.engine.support import assert_untouched, layer_of, random_blob, run, untouched

FILLERS = 'weight_filler { type: "gaussian" } bias_filler { type: "gaussian" }'

CASES = {
    "plain": ((2, 3, 5, 4), "kernel_size: 3"),
    "stride": ((2, 2, 7, 6), "kernel_size: 3 stride: 2"),
    "stride that leaves a rest": ((1, 2, 8, 8), "kernel_size: 3 stride: 3"),
    "pad": ((2, 2, 4, 4), "kernel_size: 3 pad: 2"),
    "dilation": ((2, 2, 7, 6), "kernel_size: 2 dilation: 2 pad: 1"),
    "height and width": ((1, 2, 6, 5), "kernel_h: 3 kernel_w: 1 stride_h: 1 stride_w: 2 pad_h: 0 pad_w: 1"),
    "group": ((3, 4, 4, 4), "kernel_size: 2 group: 2"),
    "no bias": ((2, 2, 4, 4), "kernel_size: 2 bias_term: false"),
    "1x1": ((3, 4, 2, 3), "kernel_size: 1"),
    "1x1 group": ((1, 4, 2, 3), "kernel_size: 1 group: 2"),
    "1x1 with a stride": ((2, 4, 3, 3), "kernel_size: 1 stride: 2"),
    "one axis": ((2, 2, 6), "kernel_size: 3 stride: 2 pad: 1"),
    "three axes": ((2, 2, 3, 4, 3), "kernel_size: 2 kernel_size: 3 kernel_size: 1 pad: 1 stride: 2"),
    "channels at axis 2": ((2, 2, 3, 4, 4), "kernel_size: 3 axis: 2"),
    "n-d forced": ((2, 3, 4, 4), "kernel_size: 3 force_nd_im2col: true"),
    "one sample": ((1, 2, 4, 4), "kernel_size: 3 pad: 1"),
}


def text(options: str) -> str:
    return f'type: "Convolution" convolution_param {{ num_output: 4 {FILLERS} {options} }}'


def direct_convolution(x: np.ndarray, weights: np.ndarray, bias: np.ndarray, layer: object) -> np.ndarray:
    """Every output place by its own sum, in double precision; x is (samples, channels, spatial axes...)."""
    spatial = layer._window  # type: ignore[attr-defined]
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *((pad, pad) for pad in spatial.pad)])
    extents = [d * (k - 1) + 1 for k, d in zip(spatial.kernel, spatial.dilation, strict=True)]
    output = [
        (size - extent) // stride + 1
        for size, extent, stride in zip(padded.shape[2:], extents, spatial.stride, strict=True)
    ]
    num_output, channels_of_group = weights.shape[:2]
    groups = x.shape[1] // channels_of_group
    y = np.zeros((x.shape[0], num_output, *output))
    for filter_index, *place in itertools.product(range(num_output), *map(range, output)):
        first = filter_index // (num_output // groups) * channels_of_group
        region = tuple(
            slice(at * stride, at * stride + extent, dilation)
            for at, stride, extent, dilation in zip(place, spatial.stride, extents, spatial.dilation, strict=True)
        )
        patch = padded[(slice(None), slice(first, first + channels_of_group), *region)]
        sums = (patch * weights[filter_index]).reshape(x.shape[0], -1).sum(axis=1)
        y[(slice(None), filter_index, *place)] = sums + bias[filter_index]
    return y


@pytest.mark.parametrize("case", CASES)
def test_forward_is_the_direct_convolution(case: str) -> None:
    shape, options = CASES[case]
    bottom = random_blob(*shape)
    layer = layer_of(text(options))
    (top,) = run(layer, [bottom])
    weights = layer.params[0].data
    bias = layer.params[1].data if len(layer.params) > 1 else np.zeros(4)
    num_spatial = weights.ndim - 2
    x = bottom.data.reshape(-1, *shape[-num_spatial - 1 :])
    expected = direct_convolution(x, weights, bias, layer)
    np.testing.assert_allclose(top.data.reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_right(case: str) -> None:
    shape, options = CASES[case]
    bottom, top = random_blob(*shape), Blob()
    layer = layer_of(text(options))
    layer.run_setup([bottom], [top])
    diff = random_blob(*top.shape, seed=5).data
    assert GradientChecker(threshold=2e-3).check(layer, [bottom], [top], top_diffs=[diff])


def test_every_entry_of_the_jacobian_is_right() -> None:
    layer = layer_of(text("kernel_size: 2 stride: 2 pad: 1"))
    assert GradientChecker().check(layer, [random_blob(2, 1, 3, 3)], [Blob()])


def test_several_bottoms_share_the_filters_and_add_their_gradients() -> None:
    bottom = [random_blob(2, 2, 4, 4), random_blob(2, 2, 4, 4, seed=9)]
    layer = layer_of(text("kernel_size: 3"))
    tops = run(layer, bottom, num_top=2)
    for top in tops:
        top.diff.fill(1)
    layer.backward(tops, [True, True], bottom)
    both = layer.params[0].diff.copy()
    for blob in layer.params:
        blob.diff.fill(0)
    singles = []
    for index in (0, 1):
        layer.params[0].diff.fill(0)
        layer.backward([tops[index]], [True], [bottom[index]])
        singles.append(layer.params[0].diff.copy())
    np.testing.assert_allclose(both, singles[0] + singles[1], rtol=1e-4, atol=1e-5)


def test_without_propagate_down_only_the_params_get_a_gradient() -> None:
    bottom = random_blob(2, 2, 4, 4)
    layer = layer_of(text("kernel_size: 3"))
    top = run(layer, [bottom])
    top[0].diff.fill(1)
    untouched(bottom)
    layer.backward(top, [False], [bottom])
    assert_untouched(bottom)
    assert layer.params[0].diff.any()


def test_params_that_do_not_learn_get_no_gradient() -> None:
    bottom = random_blob(2, 2, 4, 4)
    layer = layer_of(text("kernel_size: 3"))
    top = run(layer, [bottom])
    layer.param_propagate_down = [False, False]
    for blob in layer.params:
        untouched(blob)
    layer.backward(top, [True], [bottom])
    for blob in layer.params:
        assert_untouched(blob)


def test_an_empty_batch_passes() -> None:
    bottom = random_blob(0, 2, 4, 4)
    layer = layer_of(text("kernel_size: 3"))
    top = run(layer, [bottom])
    layer.backward(top, [True], [bottom])
    assert top[0].shape == (0, 4, 2, 2)
    assert not layer.params[1].diff.any()


def test_images_may_change_their_size_between_calls() -> None:
    bottom = random_blob(2, 2, 4, 4)
    layer = layer_of(text("kernel_size: 3 pad: 1"))
    top = run(layer, [bottom])
    for size in (6, 3):
        other = random_blob(3, 2, size, size, seed=size)
        bottom.reshape(other.shape)
        bottom.data[...] = other.data
        layer.run_forward([bottom], top)
        expected = direct_convolution(other.data, layer.params[0].data, layer.params[1].data, layer)
        np.testing.assert_allclose(top[0].data, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((2, 3, 4, 4), "", "kernel_size is given 0 times for 2 spatial axes"),
        ((2, 3, 4, 4), "kernel_size: 1 kernel_size: 1 kernel_size: 1", "kernel_size is given 3 times"),
        ((2, 3, 4, 4), "kernel_size: 0", r"kernel_size is \(0, 0\), expected 1 or more"),
        ((2, 3, 4, 4), "kernel_size: 3 kernel_h: 3 kernel_w: 3", "both as such and by height and width"),
        ((2, 3, 4), "kernel_h: 3 kernel_w: 3", "there are 1 spatial axes"),
        ((2, 3, 4, 4), "kernel_size: 3 stride: 0", "stride is"),
        ((2, 3, 4, 4), "kernel_size: 3 stride_h: 1", r"stride is \(1, 0\)"),
        ((2, 3, 4, 4), "kernel_size: 3 pad: 1 pad: 1 pad: 1", "pad is given 3 times"),
        ((2, 3, 4, 4), "kernel_size: 3 dilation: 0", "dilation is"),
        ((2, 3, 4, 4), "kernel_size: 3 group: 2", "group is 2, but there are 3 channels and 4 outputs"),
        ((2, 3, 4, 4), "kernel_size: 5", r"spatial shape \(4, 4\) is smaller than the kernel \(5, 5\)"),
        ((2, 3, 4, 4), "kernel_size: 3 axis: 4", "convolution_param.axis is 4"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(shape: tuple[int, ...], options: str, message: str) -> None:
    with pytest.raises(NetError, match=message) as caught:
        run(layer_of(text(options)), [random_blob(*shape)])
    assert caught.value.layer == "l"
    assert caught.value.remedy


def test_no_outputs_are_refused() -> None:
    with pytest.raises(NetError, match="num_output is 0"):
        run(layer_of('type: "Convolution" convolution_param { kernel_size: 3 }'), [random_blob(1, 1, 3, 3)])


def test_bottoms_of_different_shapes_are_refused() -> None:
    with pytest.raises(NetError, match="bottom 1 has shape"):
        run(layer_of(text("kernel_size: 3")), [random_blob(1, 1, 3, 3), random_blob(1, 1, 4, 4)], num_top=2)


def test_other_channels_than_at_setup_are_refused() -> None:
    bottom = random_blob(2, 3, 4, 4)
    layer = layer_of(text("kernel_size: 3"))
    top = run(layer, [bottom])
    bottom.reshape(2, 2, 4, 4)
    with pytest.raises(NetError, match="expected 3 channels at axis 1"):
        layer.run_forward([bottom], top)
