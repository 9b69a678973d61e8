import itertools

import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos.errors import NetError
from tests.engine.kernels.support import MakeLayer
from tests.engine.support import assert_nothing_is_allocated, assert_untouched, random_blob, run, untouched

FILLERS = 'weight_filler { type: "gaussian" } bias_filler { type: "gaussian" }'

CASES = {
    "plain": ((2, 3, 3, 4), "kernel_size: 3"),
    "stride": ((2, 2, 3, 4), "kernel_size: 3 stride: 2"),
    "stride over the kernel": ((1, 2, 3, 3), "kernel_size: 1 stride: 3"),
    "pad": ((2, 2, 3, 4), "kernel_size: 4 stride: 2 pad: 1"),
    "dilation": ((2, 2, 3, 3), "kernel_size: 2 dilation: 2 pad: 1"),
    "height and width": ((1, 2, 3, 4), "kernel_h: 3 kernel_w: 1 stride_h: 1 stride_w: 2 pad_h: 1 pad_w: 0"),
    "group": ((3, 4, 3, 3), "kernel_size: 2 group: 2"),
    "a group a channel, to upsample": ((2, 4, 3, 3), "kernel_size: 4 stride: 2 pad: 1 group: 4 bias_term: false"),
    "no bias": ((2, 2, 4, 4), "kernel_size: 2 bias_term: false"),
    "1x1": ((3, 4, 2, 3), "kernel_size: 1"),
    "one axis": ((2, 2, 4), "kernel_size: 3 stride: 2 pad: 1"),
    "three axes": ((2, 2, 2, 3, 2), "kernel_size: 2 kernel_size: 3 kernel_size: 1 stride: 2"),
    "channels at axis 2": ((2, 2, 3, 3, 3), "kernel_size: 3 axis: 2"),
    "large maps": ((1, 2, 17, 16), "kernel_size: 2 stride: 2"),
}


def text(options: str) -> str:
    return f'type: "Deconvolution" convolution_param {{ num_output: 4 {FILLERS} {options} }}'


def put_down(x: np.ndarray, weights: np.ndarray, bias: np.ndarray, layer: object) -> np.ndarray:
    """Each value of x puts its filters down, in double precision; x is (samples, channels, spatial axes...)."""
    window = layer._window  # type: ignore[attr-defined]
    group, num_output = layer._group, layer._num_output  # type: ignore[attr-defined]
    extents = [d * (k - 1) + 1 for k, d in zip(window.kernel, window.dilation, strict=True)]
    padded = [s * (n - 1) + e for s, n, e in zip(window.stride, x.shape[2:], extents, strict=True)]
    y = np.zeros((x.shape[0], num_output, *padded))
    for channel, *place in itertools.product(range(x.shape[1]), *map(range, x.shape[2:])):
        first = channel // (x.shape[1] // group) * (num_output // group)
        region = tuple(
            slice(at * stride, at * stride + extent, dilation)
            for at, stride, extent, dilation in zip(place, window.stride, extents, window.dilation, strict=True)
        )
        values = x[(slice(None), channel, *place)].astype(np.float64)
        target = y[(slice(None), slice(first, first + num_output // group), *region)]
        target += values.reshape(-1, *(1,) * (target.ndim - 1)) * weights[channel]
    inside = tuple(slice(pad, size - pad) for pad, size in zip(window.pad, padded, strict=True))
    return y[(slice(None), slice(None), *inside)] + bias.reshape(-1, *(1,) * len(padded))


@pytest.mark.parametrize("case", CASES)
def test_forward_puts_the_filters_down_everywhere(make_layer: MakeLayer, case: str) -> None:
    shape, options = CASES[case]
    bottom = random_blob(*shape)
    layer = make_layer(text(options))
    (top,) = run(layer, [bottom])
    weights = layer.params[0].data
    bias = layer.params[1].data if len(layer.params) > 1 else np.zeros(4)
    x = bottom.data.reshape(-1, *shape[-weights.ndim + 1 :])
    expected = put_down(x, weights, bias, layer)
    assert top.shape[-expected.ndim + 1 :] == expected.shape[1:]
    np.testing.assert_allclose(top.data.reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_right(make_layer: MakeLayer, case: str) -> None:
    shape, options = CASES[case]
    bottom, top = random_blob(*shape), Blob()
    layer = make_layer(text(options))
    layer.run_setup([bottom], [top])
    diff = random_blob(*top.shape, seed=5).data
    assert GradientChecker(threshold=2e-3).check(layer, [bottom], [top], top_diffs=[diff])


def test_it_is_the_transpose_of_convolution(make_layer: MakeLayer) -> None:
    options = "kernel_size: 3 stride: 2 pad: 1 bias_term: false"
    image, maps = random_blob(2, 3, 7, 7), random_blob(2, 4, 4, 4, seed=3)
    convolution = make_layer(text(options).replace("Deconvolution", "Convolution"))
    (convolved,) = run(convolution, [image])
    deconvolution = make_layer(text(options).replace("num_output: 4", "num_output: 3"))
    (back,) = run(deconvolution, [maps])
    deconvolution.params[0].data[...] = convolution.params[0].data
    deconvolution.run_forward([maps], [back])
    assert np.vdot(convolved.data, maps.data) == pytest.approx(np.vdot(image.data, back.data), rel=1e-4)


@pytest.mark.parametrize(
    ("shape", "options"),
    [((4, 8, 80, 80), "kernel_size: 4 stride: 2 pad: 1"), ((64, 32, 14, 14), "kernel_size: 3")],
)
def test_a_steady_state_allocates_nothing(make_layer: MakeLayer, shape: tuple[int, ...], options: str) -> None:
    # Larger than the 96 KiB that NumPy itself takes to add arrays of short rows.
    assert_nothing_is_allocated(make_layer(text(options)), [random_blob(*shape)])


def test_several_bottoms_share_the_filters_and_add_their_gradients(make_layer: MakeLayer) -> None:
    bottom = [random_blob(2, 2, 4, 4), random_blob(2, 2, 4, 4, seed=9)]
    layer = make_layer(text("kernel_size: 3"))
    tops = run(layer, bottom, num_top=2)
    for top in tops:
        top.diff.fill(1)
    layer.backward(tops, [True, True], bottom)
    both = layer.params[0].diff.copy()
    layer.params[0].diff.fill(0)
    for index in (0, 1):
        layer.backward([tops[index]], [True], [bottom[index]])
    np.testing.assert_allclose(layer.params[0].diff, both, rtol=1e-4, atol=1e-5)


def test_without_propagate_down_only_the_params_get_a_gradient(make_layer: MakeLayer) -> None:
    bottom = random_blob(2, 2, 4, 4)
    layer = make_layer(text("kernel_size: 3"))
    top = run(layer, [bottom])
    top[0].diff.fill(1)
    untouched(bottom)
    layer.backward(top, [False], [bottom])
    assert_untouched(bottom)
    assert layer.params[0].diff.any()
    assert layer.params[1].diff.any()


def test_params_that_do_not_learn_get_no_gradient(make_layer: MakeLayer) -> None:
    bottom = random_blob(2, 2, 4, 4)
    layer = make_layer(text("kernel_size: 3"))
    top = run(layer, [bottom])
    layer.param_propagate_down = [False, False]
    for blob in layer.params:
        untouched(blob)
    layer.backward(top, [True], [bottom])
    for blob in layer.params:
        assert_untouched(blob)


def test_an_empty_batch_passes(make_layer: MakeLayer) -> None:
    bottom = random_blob(0, 2, 4, 4)
    layer = make_layer(text("kernel_size: 3"))
    top = run(layer, [bottom])
    layer.backward(top, [True], [bottom])
    assert top[0].shape == (0, 4, 6, 6)
    assert not layer.params[1].diff.any()


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((2, 3, 4, 4), "", "kernel_size is given 0 times for 2 spatial axes"),
        ((2, 3, 4, 4), "kernel_size: 3 group: 2", "group is 2, but there are 3 channels and 4 outputs"),
        ((2, 6, 4, 4), "kernel_size: 3 group: 3", "group is 3, but there are 6 channels and 4 outputs"),
        ((2, 3, 2, 2), "kernel_size: 3 pad: 2", r"of spatial shape \(2, 2\) give tops of spatial shape \(0, 0\)"),
        ((2, 3, 0, 4), "kernel_size: 3", r"of spatial shape \(0, 4\) give"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(
    make_layer: MakeLayer, shape: tuple[int, ...], options: str, message: str
) -> None:
    with pytest.raises(NetError, match=message) as caught:
        run(make_layer(text(options)), [random_blob(*shape)])
    assert caught.value.layer == "l"
    assert caught.value.remedy


def test_other_channels_than_at_setup_are_refused(make_layer: MakeLayer) -> None:
    bottom = random_blob(2, 3, 4, 4)
    layer = make_layer(text("kernel_size: 3"))
    top = run(layer, [bottom])
    bottom.reshape(2, 2, 4, 4)
    with pytest.raises(NetError, match="expected 3 channels at axis 1"):
        layer.run_forward([bottom], top)
