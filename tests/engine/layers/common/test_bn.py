import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.engine.layer import Layer
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

FILL = 'type: "gaussian" std: 1'
TSN = f"slope_filler {{ {FILL} }} bias_filler {{ {FILL} }}"
SEGNET = f"scale_filler {{ {FILL} }} shift_filler {{ {FILL} }}"
#: By name: the fields, the phase, and whether mean and variance of the batch are taken.
KINDS = {
    "TSN in TRAIN": (TSN, caffe_pb2.TRAIN, True),
    "TSN in TEST": (TSN, caffe_pb2.TEST, False),
    "TSN frozen": (f"{TSN} frozen: true", caffe_pb2.TRAIN, False),
    "SegNet in TRAIN": (SEGNET, caffe_pb2.TRAIN, True),
    "SegNet in TEST": (SEGNET, caffe_pb2.TEST, True),
    "SegNet for inference": (f"{SEGNET} bn_mode: INFERENCE", caffe_pb2.TEST, False),
}


def bn(kind: str, more: str = "") -> Layer:
    fields, phase, _ = KINDS[kind]
    return layer_of(f'type: "BN" bn_param {{ {fields} {more} }}', phase=phase)


def give_moving(layer: Layer) -> None:
    """Sets moving statistics that are neither 0 nor 1."""
    if len(layer.params) == 4:
        layer.params[2].data[...] = random_blob(*layer.params[2].shape, seed=11).data
        layer.params[3].data[...] = np.abs(random_blob(*layer.params[3].shape, seed=12).data) + 0.5


def expected_y(layer: Layer, kind: str, x: np.ndarray) -> np.ndarray:
    """The formula, one channel after the other, in double precision."""
    y = np.zeros(x.shape)
    params = [blob.data.reshape(-1).astype(np.float64) for blob in layer.params]
    for c in range(x.shape[1]):
        values = x[:, c].astype(np.float64)
        if KINDS[kind][2]:
            mean, variance = values.mean(), values.var()
        else:
            mean, variance = (params[2][c], params[3][c]) if len(params) == 4 else (0, 1)
        eps = 1e-5 if len(params) == 4 else 1e-9
        y[:, c] = params[0][c] * (values - mean) / np.sqrt(variance + eps) + params[1][c]
    return y


@pytest.mark.parametrize("shape", [(3, 2, 4, 5), (4, 3), (2, 3, 5)])
@pytest.mark.parametrize("kind", KINDS)
def test_forward_follows_the_formula(kind: str, shape: tuple[int, ...]) -> None:
    bottom = random_blob(*shape)
    layer = bn(kind)
    top = set_up(layer, [bottom])
    give_moving(layer)
    expected = expected_y(layer, kind, bottom.data)
    layer.run_forward([bottom], top)
    assert [blob.shape for blob in layer.params] == [(1, shape[1], 1, 1)] * (4 if "TSN" in kind else 2)
    np.testing.assert_allclose(top[0].data, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["TSN in TRAIN", "SegNet in TRAIN", "SegNet in TEST", "SegNet for inference"])
def test_the_gradient_is_right(kind: str) -> None:
    assert GradientChecker(threshold=2e-3).check(bn(kind), [random_blob(3, 2, 2, 3)], [Blob()])


@pytest.mark.parametrize("kind", ["TSN in TEST", "TSN frozen"])
def test_with_moving_statistics_the_gradient_is_that_of_a_scale_and_a_shift(kind: str) -> None:
    bottom = random_blob(3, 2, 2, 3)
    layer = bn(kind)
    top = set_up(layer, [bottom])
    give_moving(layer)
    layer.run_forward([bottom], top)
    dy = random_blob(*bottom.shape, seed=4).data
    top[0].diff[...] = dy
    layer.run_backward(top, [True], [bottom])
    slope, _, mean, variance = (blob.data for blob in layer.params)
    deviation = np.sqrt(variance + 1e-5)
    np.testing.assert_allclose(bottom.diff, dy * slope / deviation, rtol=1e-4)
    if kind == "TSN in TEST":
        dslope = (dy * (bottom.data - mean) / deviation).sum(axis=(0, 2, 3))
        np.testing.assert_allclose(layer.params[0].diff.ravel(), dslope, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(layer.params[1].diff.ravel(), dy.sum(axis=(0, 2, 3)), rtol=1e-3, atol=1e-5)
    else:
        assert not any(blob.diff.any() for blob in layer.params)


@pytest.mark.parametrize("kind", KINDS)
def test_in_place_gives_the_same(kind: str) -> None:
    results = []
    for in_place in (False, True):
        bottom = random_blob(3, 2, 4, 5)
        layer = bn(kind)
        top = [bottom] if in_place else [Blob()]
        layer.run_setup([bottom], top)
        layer.param_propagate_down = [True] * len(layer.params)
        give_moving(layer)
        layer.run_forward([bottom], top)
        y = top[0].data.copy()
        top[0].diff[...] = random_blob(3, 2, 4, 5, seed=3).data
        layer.run_backward(top, [True], [bottom])
        results.append([y, bottom.diff.copy(), *(blob.diff.copy() for blob in layer.params)])
    for apart, together in zip(*results, strict=True):
        np.testing.assert_array_equal(apart, together)


def test_training_moves_the_statistics_towards_those_of_the_batch() -> None:
    bottom = random_blob(3, 2, 4, 5)
    layer = bn("TSN in TRAIN", "momentum: 0.75")
    top = set_up(layer, [bottom])
    for share in (0.25, 0.4375):  # 1 - 0.75, 1 - 0.75^2
        layer.run_forward([bottom], top)
        mean, variance = bottom.data.mean(axis=(0, 2, 3)), bottom.data.var(axis=(0, 2, 3))
        np.testing.assert_allclose(layer.params[2].data.ravel(), share * mean, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(layer.params[3].data.ravel(), share * variance, rtol=1e-4)


@pytest.mark.parametrize(("frozen", "rates"), [(False, [3, 1, 0, 0]), (True, [0, 0, 0, 0])])
def test_what_does_not_learn_has_lr_mult_0(frozen: bool, rates: list[int]) -> None:
    net = native_net(
        'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }'
        'layer { name: "bn" type: "BN" bottom: "x" top: "y" param { lr_mult: 3 } '
        f"bn_param {{ frozen: {str(frozen).lower()} }} }}"
    )
    with net:
        assert [1 if param.lr_mult is None else param.lr_mult for param in net.learnable] == rates
        assert (net.layer("bn").params[3].data == int(frozen)).all()


def test_segnet_may_have_the_mean_and_the_variance_as_tops() -> None:
    bottom = random_blob(3, 2, 4, 5)
    _, mean, variance = run(bn("SegNet in TRAIN"), [bottom], 3)
    assert mean.shape == variance.shape == (1, 2, 1, 1)
    np.testing.assert_allclose(mean.data.ravel(), bottom.data.mean(axis=(0, 2, 3)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(variance.data.ravel(), bottom.data.var(axis=(0, 2, 3)), rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_params_add_up_where_they_are_wanted(kind: str) -> None:
    bottom = random_blob(3, 2, 4)
    layer = bn(kind)
    top = run(layer, [bottom])
    top[0].diff[...] = random_blob(3, 2, 4, seed=3).data
    layer.run_backward(top, [True], [bottom])
    once = [blob.diff.copy() for blob in layer.params]
    layer.run_backward(top, [True], [bottom])
    for blob, diff in zip(layer.params, once, strict=True):
        np.testing.assert_allclose(blob.diff, 2 * diff, rtol=1e-5)
    layer.param_propagate_down = [False] * len(layer.params)
    for blob in layer.params:
        untouched(blob)
    layer.run_forward([bottom], top)
    layer.run_backward(top, [True], [bottom])
    for blob in layer.params:
        assert_untouched(blob)


@pytest.mark.parametrize("kind", KINDS)
def test_without_propagate_down_the_diff_stays(kind: str) -> None:
    bottom = random_blob(3, 2, 4)
    layer = bn(kind)
    top = run(layer, [bottom])
    untouched(bottom)
    layer.run_backward(top, [False], [bottom])
    assert_untouched(bottom)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_without_samples_passes_and_moves_nothing(kind: str) -> None:
    bottom = Blob((0, 2, 4))
    layer = bn(kind)
    top = set_up(layer, [bottom])
    give_moving(layer)
    before = [blob.data.copy() for blob in layer.params]
    layer.run_forward([bottom], top)
    layer.run_backward(top, [True], [bottom])
    assert top[0].shape == (0, 2, 4)
    for blob, data in zip(layer.params, before, strict=True):
        np.testing.assert_array_equal(blob.data, data)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_allocated_in_a_steady_state(kind: str) -> None:
    assert_nothing_is_allocated(bn(kind), [random_blob(8, 32, 32, 32)])


def test_one_axis_is_one_channel() -> None:
    bottom = blob_of([1, 2, 3, 6])
    layer = layer_of('type: "BN" bn_param { slope_filler { value: 1 } }')
    (top,) = run(layer, [bottom])
    np.testing.assert_allclose(top.data, (bottom.data - 3) / np.sqrt(3.5), rtol=1e-4)


@pytest.mark.parametrize(
    ("fields", "shape", "num_top", "message"),
    [
        (
            f"{SEGNET} momentum: 0.9",
            (2, 3),
            1,
            r"\['scale_filler', 'shift_filler'\] of SegNet's, \['momentum'\] of TSN's",
        ),
        (TSN, (2, 3), 2, "only SegNet's layer has its mean and variance as tops"),
        (f"{SEGNET} bn_mode: INFERENCE", (2, 3), 3, "with bn_mode INFERENCE there is no mean"),
        (SEGNET, (2, 3), 4, "takes 1 to 3 top"),
        (TSN, (1, 1, 1, 1, 1), 1, "has 5 axes, expected 1 to 4"),
        (TSN, (), 1, "has 0 axes, expected 1 to 4"),
    ],
)
def test_what_does_not_fit_is_refused(fields: str, shape: tuple[int, ...], num_top: int, message: str) -> None:
    with pytest.raises(NetError, match=message) as caught:
        run(layer_of(f'type: "BN" bn_param {{ {fields} }}'), [Blob(shape)], num_top)
    assert caught.value.layer == "l"


def test_the_channels_may_not_change_between_calls() -> None:
    layer = bn("TSN in TRAIN")
    top = run(layer, [random_blob(2, 3, 4)])
    layer.run_forward([random_blob(5, 3, 2)], top)
    with pytest.raises(NetError, match=r"has 4 channels, expected 3 as at setup"):
        layer.run_forward([random_blob(2, 4)], top)
