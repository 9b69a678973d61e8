import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlayer.engine.gradient_check import GradientChecker
from farlayer.engine.layers import parts
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError
from tests.engine.support import (
    assert_nothing_is_allocated,
    assert_untouched,
    blob_of,
    layer_of,
    native_net,
    random_blob,
    run,
    set_up,
    untouched,
)

SHAPES = [(4, 3, 2, 3), (2, 3), (5,), (1, 2, 4), (3, 1, 1, 1, 2), (1, 3)]
EPS = 1e-5


def text(options: str = "", more: str = "") -> str:
    return f'type: "BatchNorm" {more} batch_norm_param {{ {options} }}'


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each channel, channel by channel, in double precision."""
    channels = [x] if x.ndim == 1 else [x[:, index] for index in range(x.shape[1])]
    wide = [channel.astype(np.float64) for channel in channels]
    return np.array([c.mean() for c in wide]), np.array([((c - c.mean()) ** 2).mean() for c in wide])


def per_channel(values: np.ndarray, x: np.ndarray) -> np.ndarray:
    return values.reshape((1, -1) + (1,) * (x.ndim - 2)) if x.ndim > 1 else values


def normalized(x: np.ndarray, mean: np.ndarray, variance: np.ndarray, eps: float = EPS) -> np.ndarray:
    return (x - per_channel(mean, x)) / np.sqrt(per_channel(variance, x) + eps)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("eps", [EPS, 0.5])
def test_in_training_every_channel_gets_mean_0_and_deviation_1(shape: tuple[int, ...], eps: float) -> None:
    bottom = blob_of(random_blob(*shape).data * 3 + 5)
    (top,) = run(layer_of(text(f"eps: {eps}")), [bottom])
    expected = normalized(bottom.data, *moments(bottom.data), eps)
    np.testing.assert_allclose(top.data, expected, rtol=1e-4, atol=1e-4 / np.sqrt(eps) / 100)


@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=4), seed=st.integers(0, 99), bound=st.integers(1, 60))
@settings(max_examples=25, deadline=None)
def test_any_shape_in_bands_of_any_size_is_normalized(shape: list[int], seed: int, bound: int) -> None:
    bottom = random_blob(*shape, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "PART_VALUES", bound)
        (top,) = run(layer_of(text("eps: 0.1")), [bottom])
    np.testing.assert_allclose(top.data, normalized(bottom.data, *moments(bottom.data), 0.1), rtol=1e-4, atol=1e-5)


def test_large_means_do_not_cost_digits() -> None:
    bottom = blob_of(random_blob(8, 2, 20, 20).data + 1000)
    (top,) = run(layer_of(text()), [bottom])
    np.testing.assert_allclose(top.data, normalized(bottom.data, *moments(bottom.data)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shape", [(4, 3, 2, 3), (5,), (1, 2)])
def test_training_keeps_moving_sums_of_the_statistics(shape: tuple[int, ...]) -> None:
    layer = layer_of(text("moving_average_fraction: 0.9"))
    bottom = random_blob(*shape)
    top = set_up(layer, [bottom])
    mean_sum, variance_sum, factor = np.zeros(layer.params[0].shape), np.zeros(layer.params[1].shape), 0.0
    for seed in range(3):
        bottom.data[...] = random_blob(*shape, seed=seed).data
        layer.run_forward([bottom], top)
        mean, variance = moments(bottom.data)
        values = bottom.count // mean.size
        mean_sum = 0.9 * mean_sum + mean
        variance_sum = 0.9 * variance_sum + variance * (values / (values - 1) if values > 1 else 1)
        factor = 0.9 * factor + 1
    assert layer.params[2].shape == (1,)
    for blob, expected in zip(layer.params, (mean_sum, variance_sum, factor), strict=True):
        np.testing.assert_allclose(blob.data, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("phase", "options"), [(caffe_pb2.TEST, ""), (caffe_pb2.TRAIN, "use_global_stats: true")], ids=["TEST", "asked for"]
)
def test_stored_statistics_are_divided_by_the_factor_and_stay(phase: caffe_pb2.Phase.ValueType, options: str) -> None:
    layer = layer_of(text(options), phase=phase)
    bottom = random_blob(4, 3, 2)
    top = set_up(layer, [bottom])
    stored = [[2, 4, -6], [1, 2, 8], [4]]
    for blob, values in zip(layer.params, stored, strict=True):
        blob.data[...] = values
    layer.run_forward([bottom], top)
    expected = normalized(bottom.data, np.array([0.5, 1, -1.5]), np.array([0.25, 0.5, 2]))
    np.testing.assert_allclose(top[0].data, expected, rtol=1e-4, atol=1e-5)
    for blob, values in zip(layer.params, stored, strict=True):
        np.testing.assert_array_equal(blob.data, values)


def test_statistics_that_were_never_stored_count_as_0() -> None:
    layer = layer_of(text("eps: 0.25"), phase=caffe_pb2.TEST)
    bottom = random_blob(2, 3)
    top = set_up(layer, [bottom])
    layer.params[0].data.fill(7)
    layer.run_forward([bottom], top)
    np.testing.assert_allclose(top[0].data, bottom.data / 0.5, rtol=1e-5)


def test_a_test_net_may_ask_for_the_statistics_of_the_batch() -> None:
    bottom = random_blob(4, 3)
    (top,) = run(layer_of(text("use_global_stats: false"), phase=caffe_pb2.TEST), [bottom])
    np.testing.assert_allclose(top.data, normalized(bottom.data, *moments(bottom.data)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 3, 2), (3, 2), (5,), (1, 2, 3, 2)])
@pytest.mark.parametrize("options", ["", "eps: 0.3", "use_global_stats: true"])
def test_the_gradient_is_right(shape: tuple[int, ...], options: str) -> None:
    layer = layer_of(text(options))
    bottom = blob_of(random_blob(*shape).data * 2 + 1)
    top = set_up(layer, [bottom])
    for blob in layer.params:
        blob.data[...] = np.abs(random_blob(*blob.shape, seed=2).data) + 0.5
    compared = GradientChecker().check(layer, [bottom], top)
    assert compared == bottom.count**2, "the statistics have no gradient, the bottom has"


@pytest.mark.parametrize("bound", [1, 1 << 18])
@pytest.mark.parametrize("options", ["", "use_global_stats: true"])
def test_in_place_gives_the_same_values_and_gradients(
    options: str, bound: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_VALUES", bound)
    apart, in_place = random_blob(4, 3, 2, 2), random_blob(4, 3, 2, 2)
    apart_layer, layer = layer_of(text(options)), layer_of(text(options))
    (top,) = run(apart_layer, [apart])
    layer.run_setup([in_place], [in_place])
    layer.run_forward([in_place], [in_place])
    np.testing.assert_array_equal(in_place.data, top.data)
    in_place.data.fill(99)  # as a Scale or ReLU in place behind it would
    for blob in layer.params:
        blob.data.fill(5)
    gradient = random_blob(4, 3, 2, 2, seed=3).data
    top.diff[...] = gradient
    apart_layer.run_backward([top], [True], [apart])
    for _ in range(2):
        in_place.diff[...] = gradient
        layer.run_backward([in_place], [True], [in_place])
        np.testing.assert_allclose(in_place.diff, apart.diff, rtol=1e-5, atol=1e-6)


def test_backward_does_not_read_a_top_that_a_later_layer_overwrote() -> None:
    bottom = random_blob(4, 3, 2)
    layer = layer_of(text())
    (top,) = run(layer, [bottom])
    top.diff[...] = random_blob(4, 3, 2, seed=3).data
    layer.run_backward([top], [True], [bottom])
    before = bottom.diff.copy()
    top.data.fill(99)
    layer.run_backward([top], [True], [bottom])
    np.testing.assert_array_equal(bottom.diff, before)


def residual_block(in_place: bool) -> str:
    """The block that published residual nets are made of: normalized, scaled, cut off, and added to its input."""
    names = ["c"] * 4 if in_place else ["c", "n", "s", "r"]
    return (
        "force_backward: true "
        'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 4 dim: 3 dim: 5 dim: 5 } } }'
        'layer { name: "conv" type: "Convolution" bottom: "x" top: "c" convolution_param { num_output: 3 kernel_size: 3'
        ' pad: 1 weight_filler { type: "gaussian" } } }'
        f'layer {{ name: "bn" type: "BatchNorm" bottom: "{names[0]}" top: "{names[1]}" }}'
        f'layer {{ name: "scale" type: "Scale" bottom: "{names[1]}" top: "{names[2]}"'
        ' scale_param { bias_term: true filler { type: "gaussian" } bias_filler { type: "gaussian" } } }'
        f'layer {{ name: "relu" type: "ReLU" bottom: "{names[2]}" top: "{names[3]}" }}'
        f'layer {{ name: "sum" type: "Eltwise" bottom: "x" bottom: "{names[3]}" top: "y" }}'
    )


def test_a_residual_block_in_place_computes_what_one_of_separate_blobs_computes() -> None:
    results = []
    for in_place in (True, False):
        with native_net(residual_block(in_place), seed=3) as net:
            net.blobs["x"].data[...] = random_blob(4, 3, 5, 5).data
            net.forward()
            net.blobs["y"].diff[...] = random_blob(4, 3, 5, 5, seed=4).data
            net.backward()
            results.append([net.blobs["y"].data.copy(), *(blob.diff.copy() for blob in net.learnable_params)])
    assert len(results[0]) == 1 + 2 + 3 + 2
    assert results[0][1].any(), "the weights of the convolution have a gradient"
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_without_propagate_down_the_diff_stays() -> None:
    bottom = random_blob(2, 3)
    layer = layer_of(text())
    top = run(layer, [bottom])
    untouched(bottom)
    layer.run_backward(top, [False], [bottom])
    assert_untouched(bottom)


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 2, 2), (2, 3, 0)])
@pytest.mark.parametrize("phase", [caffe_pb2.TRAIN, caffe_pb2.TEST])
def test_a_batch_without_values_passes_and_leaves_the_statistics_alone(
    shape: tuple[int, ...], phase: caffe_pb2.Phase.ValueType
) -> None:
    bottom = random_blob(*shape)
    layer = layer_of(text(), phase=phase)
    top = set_up(layer, [bottom])
    for blob in layer.params:
        blob.data.fill(3)
    layer.forward([bottom], top)
    layer.backward(top, [True], [bottom])
    assert top[0].shape == shape
    assert all((blob.data == 3).all() for blob in layer.params)


@pytest.mark.parametrize("phase", [caffe_pb2.TRAIN, caffe_pb2.TEST])
@pytest.mark.parametrize("shape", [(8, 64, 12, 12), (256, 300), (2, 8, 64, 64)])
def test_in_a_steady_state_nothing_is_allocated(shape: tuple[int, ...], phase: caffe_pb2.Phase.ValueType) -> None:
    assert_nothing_is_allocated(layer_of(text(), phase=phase), [random_blob(*shape)])


@pytest.mark.parametrize("specs", ["", "param { lr_mult: 0 }", "param { lr_mult: 0 } " * 3])
def test_solvers_are_told_to_leave_the_statistics_alone(specs: str) -> None:
    net = native_net(
        'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }'
        f'layer {{ name: "bn" type: "BatchNorm" bottom: "x" top: "x" {specs} }}'
    )
    with net:
        assert [param.lr_mult for param in net.learnable] == [0, 0, 0]
        net.forward()
        for blob in net.learnable_params:
            untouched(blob)
        net.layer("bn").run_backward([net.blobs["x"]], [True], [net.blobs["x"]])
        for blob in net.learnable_params:
            assert_untouched(blob)


@pytest.mark.parametrize(
    ("specs", "name"),
    [("param { lr_mult: 1 }", "mean"), ("param { lr_mult: 0 } param { name: 'v' }", "variance")],
)
def test_statistics_cannot_be_made_to_learn(specs: str, name: str) -> None:
    with pytest.raises(NetError, match=f"lr_mult of the {name} is 1.0") as caught:
        run(layer_of(text(more=specs)), [random_blob(2, 3)])
    assert caught.value.layer == "l"


def test_the_number_of_channels_must_stay() -> None:
    bottom = random_blob(2, 3)
    layer = layer_of(text())
    top = run(layer, [bottom])
    bottom.reshape(5, 3, 2)
    layer.run_forward([bottom], top)
    assert top[0].shape == (5, 3, 2)
    bottom.reshape(2, 4)
    with pytest.raises(NetError, match=r"bottom shape \(2, 4\) has 4 channels, expected 3"):
        layer.run_forward([bottom], top)


def test_a_bottom_without_axes_is_refused() -> None:
    with pytest.raises(NetError, match="the bottom has no axes"):
        run(layer_of(text()), [random_blob()])


def test_params_of_the_definition_must_fit() -> None:
    with pytest.raises(NetError, match=r"shapes \[\(2,\)\], expected \[\(3,\), \(3,\), \(1,\)\]"):
        run(layer_of(text(more="blobs { shape { dim: 2 } data: 1 data: 2 }")), [random_blob(2, 3)])
