"""PyTorch's kernels give what NumPy's give, and what the original Caffe gave."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from farlayer.blobs.blob import Blob
from farlayer.client.in_process_host import InProcessHost
from farlayer.engine.gradient_check import GradientChecker
from farlayer.engine.kernels.choice import choose_kernels
from farlayer.engine.layer import Layer
from farlayer.engine.layers.vision.correlation import Geometry
from farlayer.engine.net_builder import build_net
from farlayer.protos import caffe_pb2
from tests.engine.layers.vision.test_correlation import arrays_of, direct, geometries
from tests.engine.support import assert_untouched, layer_of, net_param, random_blob, set_up, untouched
from tests.engine.test_golden_layers import close, values

torch = pytest.importorskip("torch")

FOLDER = Path(__file__).parents[2] / "golden" / "layers"
TYPES = {"BatchNorm", "Convolution", "Deconvolution", "InnerProduct", "ReLU"}

INNER = 'type: "InnerProduct" inner_product_param { weight_filler { type: "gaussian" } %s }'
NORM = 'type: "BatchNorm" batch_norm_param { %s }'
RELU = 'type: "ReLU" relu_param { %s }'
LAYERS = {
    "inner product": (INNER % 'num_output: 16 bias_filler { type: "gaussian" }', (5, 3, 4)),
    "inner product of many rows": (INNER % "num_output: 6", (70, 8)),
    "inner product of an odd number of outputs": (INNER % "num_output: 3 bias_term: false", (5, 7)),
    "inner product, transposed": (INNER % "num_output: 8 transpose: true", (4, 6)),
    "inner product over the last axis": (INNER % "num_output: 4 axis: 2", (2, 3, 8)),
    "inner product of an empty batch": (INNER % "num_output: 4", (0, 8)),
    "batch norm": (NORM % "", (4, 6, 3, 2)),
    "batch norm without spatial axes": (NORM % "", (8, 5)),
    "batch norm of one channel": (NORM % "", (9,)),
    "batch norm of an empty batch": (NORM % "", (0, 3, 2, 2)),
    "batch norm, stored": (NORM % "use_global_stats: true", (4, 6, 3, 2)),
    "batch norm, stored, of one channel": (NORM % "use_global_stats: true", (9,)),
    "relu": (RELU % "", (4, 50)),
    "leaky relu": (RELU % "negative_slope: 0.1", (4, 50)),
    "relu with a negative slope": (RELU % "negative_slope: -0.5", (4, 50)),
    "relu of an empty batch": (RELU % "", (0, 5)),
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def layer_with(text: str, name: str) -> Layer:
    return layer_of(text, kernels=choose_kernels(name))


@pytest.mark.parametrize(
    "case", [path.stem for path in sorted(FOLDER.glob("*.npz")) if path.stem.split("_")[1] in TYPES]
)
@pytest.mark.parametrize("kernels", ["numpy", "torch"])
def test_a_layer_computes_what_caffe_computes(case: str, kernels: str) -> None:
    golden = np.load(FOLDER / f"{case}.npz")
    param = net_param(str(golden["prototxt"]))
    phase = caffe_pb2.Phase.Value(str(golden["phase"]))
    param.force_backward = True  # in these nets nothing needs a gradient otherwise
    with build_net(param, phase, host=InProcessHost(), kernels=kernels) as net:
        layer = net.layer("l")
        assert type(layer).__name__.startswith("Torch") == (kernels == "torch")
        for name, data in values(golden, "in:").items():
            net.blobs[name].data[...] = data
        for index, data in values(golden, "param:").items():
            layer.params[int(index)].data[...] = data
        net.forward()
        for name, expected in values(golden, "out:").items():
            close(net.blobs[name].data, expected, f"top {name}")


@pytest.mark.parametrize("case", LAYERS)
def test_a_layer_gives_what_it_gives_with_numpy(case: str) -> None:
    text, shape = LAYERS[case]
    results = []
    for name in ("numpy", "torch"):
        layer, bottom = layer_with(text, name), random_blob(*shape)
        top = set_up(layer, [bottom])
        if layer.type_name == "BatchNorm":
            for index, blob in enumerate(layer.params):
                blob.data[...] = np.abs(random_blob(*blob.shape, seed=index).data) + 0.5
        layer.run_forward([bottom], top)
        top[0].diff[...] = random_blob(*top[0].shape, seed=3).data
        for blob in layer.params:
            blob.diff.fill(1)  # gradients of params are added
        layer.run_backward(top, [True], [bottom])
        params = [array for blob in layer.params for array in (blob.data, blob.diff)]
        results.append([top[0].data, bottom.diff, *params])
    for expected, actual in zip(*results, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", [case for case in LAYERS if "empty" not in case and "stored" not in case])
def test_the_gradient_is_right(case: str) -> None:
    text, shape = LAYERS[case]
    layer, bottom, top = layer_with(text, "torch"), random_blob(*shape), Blob()
    layer.run_setup([bottom], [top])
    diff = random_blob(*top.shape, seed=5).data
    checker = GradientChecker(threshold=2e-3, kink=0.0, kink_range=0.011 if "relu" in case else -1)
    assert checker.check(layer, [bottom], [top], top_diffs=[diff])


@pytest.mark.parametrize("case", LAYERS)
def test_without_propagate_down_diffs_stay(case: str) -> None:
    text, shape = LAYERS[case]
    layer, bottom = layer_with(text, "torch"), random_blob(*shape)
    top = set_up(layer, [bottom])
    layer.run_forward([bottom], top)
    layer.param_propagate_down = [False] * len(layer.params)
    for blob in (bottom, *layer.params):
        untouched(blob)
    layer.run_backward(top, [False], [bottom])
    for blob in (bottom, *layer.params):
        assert_untouched(blob)


@pytest.mark.parametrize("slope", ["", "negative_slope: 0.1", "negative_slope: -0.5"])
def test_relu_in_place_gives_the_same_as_with_a_top_of_its_own(slope: str) -> None:
    apart, shared = layer_with(RELU % slope, "torch"), layer_with(RELU % slope, "torch")
    bottom, both = random_blob(3, 40), random_blob(3, 40)
    top = set_up(apart, [bottom])
    apart.run_forward([bottom], top)
    shared.run_setup([both], [both])
    shared.run_forward([both], [both])
    np.testing.assert_array_equal(both.data, top[0].data)
    diff = random_blob(3, 40, seed=9).data
    top[0].diff[...] = both.diff[...] = diff
    if not slope.startswith("negative_slope: -"):  # else y does not tell the sign of x
        apart.run_backward(top, [True], [bottom])
        shared.run_backward([both], [True], [both])
        np.testing.assert_array_equal(both.diff, bottom.diff)


@pytest.mark.parametrize("stored", ["", "use_global_stats: true"])
def test_batch_norm_in_place_gives_the_same_as_with_a_top_of_its_own(
    stored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from farlayer.engine.kernels import torch_batch_norm

    monkeypatch.setattr(torch_batch_norm, "_PART_VALUES", 50)  # some channels at a time
    apart, shared = layer_with(NORM % stored, "torch"), layer_with(NORM % stored, "torch")
    bottom, both = random_blob(3, 5, 4, 2), random_blob(3, 5, 4, 2)
    top = set_up(apart, [bottom])
    apart.run_forward([bottom], top)
    shared.run_setup([both], [both])
    shared.run_forward([both], [both])
    np.testing.assert_allclose(both.data, top[0].data, rtol=1e-5, atol=1e-6)
    top[0].diff[...] = both.diff[...] = random_blob(3, 5, 4, 2, seed=9).data
    apart.run_backward(top, [True], [bottom])
    shared.run_backward([both], [True], [both])
    np.testing.assert_allclose(both.diff, bottom.diff, rtol=1e-4, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(geometries())
def test_correlations_are_sums_over_windows_and_the_other_two_are_its_transposes(geometry: Geometry) -> None:
    from farlayer.engine.kernels.torch_convolution import AtenCorrelation, PointwiseCorrelation

    images, filters, weights = arrays_of(geometry)
    biases = np.arange(geometry.num_maps, dtype=np.float32)
    pointwise = geometry.window.is_identity and geometry.group == 1
    for correlate in (AtenCorrelation(geometry), *([PointwiseCorrelation(geometry)] if pointwise else [])):
        maps, back = np.empty_like(weights), np.empty_like(images)
        correlate.to_maps(images, filters, None, maps)
        expected = direct(geometry, images, filters)
        np.testing.assert_array_equal(maps, expected)
        correlate.to_maps(images, filters, biases, maps)
        np.testing.assert_array_equal(maps, expected + biases.reshape(-1, *(1,) * len(geometry.places)))
        product = np.vdot(expected, weights)
        correlate.to_images(weights, filters, back)
        assert np.vdot(images, back) == product
        gradient = np.ones_like(filters)
        correlate.add_filter_gradient(images, weights, gradient)
        assert np.vdot(filters, gradient - 1) == product


def test_convolution_over_four_axes_is_left_to_numpy() -> None:
    text = 'type: "Convolution" convolution_param { num_output: 2 kernel_size: 2 weight_filler { type: "gaussian" } }'
    results = []
    for name in ("numpy", "torch"):
        layer, bottom = layer_with(text, name), random_blob(1, 2, 3, 3, 3, 3)
        top = set_up(layer, [bottom])
        layer.run_forward([bottom], top)
        results.append(top[0].data)
    np.testing.assert_array_equal(*results)
