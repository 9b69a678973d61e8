"""What Flatten and Reshape, and Concat and Slice of a single blob, have in common."""

import numpy as np
import pytest

from farlayer.blobs.segment import Allocator, shared
from farlayer.client.in_process_host import InProcessHost
from farlayer.engine.net import Net
from farlayer.engine.net_builder import build_net
from farlayer.protos import caffe_pb2
from tests.engine.support import assert_untouched, layer_of, native_net, net_param, random_blob, run, set_up, untouched

TEXTS = {
    "Flatten": 'type: "Flatten"',
    "Reshape": 'type: "Reshape" reshape_param { shape { dim: 0 dim: -1 } }',
    "Concat": 'type: "Concat"',
    "Slice": 'type: "Slice"',
}
ALL = pytest.mark.parametrize("kind", TEXTS)
#: In Caffe the diff of a Flatten's bottom becomes that of its top in backward; those of the others in reshape.
AT_ONCE = pytest.mark.parametrize("kind", ["Reshape", "Concat", "Slice"])
INPUT = 'layer { name: "in" type: "Input" top: "in" input_param { shape { dim: 2 dim: 3 } } }'


def chain(kind: str, *, before: str = "", behind: str = "", options: str = "") -> Net:
    """An InnerProduct to x, `before` in place on x, the layer to y, `behind` in place on y."""
    in_place = 'layer {{ name: "{0}" bottom: "{0}" top: "{0}" {1} }}'
    return native_net(
        f'force_backward: true {INPUT} layer {{ name: "product" type: "InnerProduct" bottom: "in" top: "x" '
        'inner_product_param { num_output: 3 weight_filler { type: "gaussian" } } } '
        + (in_place.format("x", before) if before else "")
        + f'layer {{ name: "l" bottom: "x" top: "y" {TEXTS[kind]} {options} }}'
        + (in_place.format("y", behind) if behind else "")
    )


@ALL
def test_the_top_is_the_memory_of_the_bottom(kind: str) -> None:
    bottom = random_blob(2, 3)
    layer = layer_of(TEXTS[kind])
    top = run(layer, [bottom])
    top[0].diff.fill(4)
    layer.run_backward(top, [True], [bottom])
    assert np.shares_memory(top[0].data, bottom.data)
    assert np.shares_memory(top[0].diff, bottom.diff)
    assert (bottom.diff == 4).all()


@AT_ONCE
def test_the_diff_is_shared_before_anything_ran(kind: str) -> None:
    bottom = random_blob(2, 3)
    layer = layer_of(TEXTS[kind])
    (top,) = set_up(layer, [bottom])
    top.diff.fill(4)
    layer.run_forward([bottom], [top])
    assert (top.diff == 4).all()
    assert (bottom.diff == 4).all()


def test_the_diff_of_a_flatten_is_shared_from_the_first_backward_on() -> None:
    bottom = random_blob(2, 3)
    layer = layer_of(TEXTS["Flatten"])
    (top,) = run(layer, [bottom])
    top.diff.fill(4)
    assert not bottom.diff.any()
    layer.run_backward([top], [True], [bottom])
    top.diff.fill(5)
    assert (bottom.diff == 5).all()


def test_without_propagate_down_a_flatten_leaves_the_diff_alone() -> None:
    bottom = random_blob(2, 3)
    layer = layer_of(TEXTS["Flatten"])
    top = run(layer, [bottom])
    untouched(bottom)
    layer.run_backward(top, [False], [bottom])
    assert_untouched(bottom)


@ALL
def test_sharing_follows_a_bottom_that_grows_beyond_its_capacity_and_shrinks_again(kind: str) -> None:
    bottom = random_blob(2, 3)
    layer = layer_of(TEXTS[kind])
    top = set_up(layer, [bottom])
    for num in (2, 7, 3, 9, 1):
        bottom.reshape(num, 3)
        bottom.data.fill(num)
        layer.run_forward([bottom], top)
        assert top[0].shape == (num, 3)
        assert (top[0].data == num).all()
        top[0].diff.fill(-num)
        layer.run_backward(top, [True], [bottom])
        assert (bottom.diff == -num).all()
        assert np.shares_memory(top[0].data, bottom.data)
        assert np.shares_memory(top[0].diff, bottom.diff)


@ALL
def test_sharing_follows_a_bottom_that_got_other_memory(kind: str) -> None:
    bottom, other = random_blob(2, 3), random_blob(2, 3, seed=2)
    layer = layer_of(TEXTS[kind])
    top = run(layer, [bottom])
    layer.run_backward(top, [True], [bottom])
    bottom.share_data(other)
    bottom.share_diff(other)
    layer.run_forward([bottom], top)
    np.testing.assert_array_equal(top[0].data, other.data)
    top[0].diff.fill(3)
    layer.run_backward(top, [True], [bottom])
    assert (other.diff == 3).all()


@ALL
def test_an_empty_batch_passes(kind: str) -> None:
    bottom = random_blob(0, 3)
    layer = layer_of(TEXTS[kind])
    top = run(layer, [bottom])
    layer.run_backward(top, [True], [bottom])
    assert top[0].shape == (0, 3)


@ALL
def test_a_layer_in_place_behind_changes_the_bottom_too(kind: str) -> None:
    with chain(kind, behind='type: "ReLU"') as net:
        net.blobs["in"].data[...] = random_blob(2, 3).data
        net.forward()
        assert (net.blobs["x"].data >= 0).all()
        np.testing.assert_array_equal(net.blobs["x"].data, net.blobs["y"].data)
        assert net.blobs["x"].data.any()


@ALL
def test_gradients_are_right_between_layers_in_place(kind: str) -> None:
    with chain(kind, before='type: "TanH"', behind='type: "ReLU"') as net:
        net.blobs["in"].data[...] = random_blob(2, 3).data
        weights = net.layer("product").params[0].data
        for seed in range(3):  # from the second pass on the gradients share their memory
            net.forward()
            y = np.tanh(net.blobs["in"].data @ weights.T)
            dy = random_blob(2, 3, seed=seed).data
            net.blobs["y"].diff[...] = dy
            net.backward()
            # The ReLU changed what TanH reads in backward: it sees 0 where the gradient is 0 anyway.
            expected = (dy * (y > 0) * (1 - y * y)) @ weights
            np.testing.assert_allclose(net.blobs["in"].diff, expected, rtol=1e-4, atol=1e-5)


@ALL
def test_the_gradient_of_a_loss_weight_outlives_layers_in_place(kind: str) -> None:
    with chain(kind, before='type: "TanH"', options="loss_weight: 2") as net:
        net.blobs["in"].data[...] = random_blob(2, 3).data
        weights = net.layer("product").params[0].data
        for _ in range(3):
            loss = net.forward()
            y = np.tanh(net.blobs["in"].data @ weights.T)
            assert loss == pytest.approx(2 * y.sum(), abs=1e-4)
            net.backward()
            np.testing.assert_allclose(net.blobs["in"].diff, 2 * (1 - y * y) @ weights, rtol=1e-4, atol=1e-5)
            assert (net.blobs["y"].diff == 2).all()


@ALL
def test_the_gradient_of_a_loss_that_lies_in_place_on_the_top_is_not_lost(kind: str) -> None:
    with chain(kind, behind='type: "TanH" loss_weight: 2') as net:
        net.blobs["in"].data[...] = random_blob(2, 3).data
        net.forward()
        net.backward()
        expected = 2 * (1 - net.blobs["y"].data ** 2) @ net.layer("product").params[0].data
        np.testing.assert_allclose(net.blobs["in"].diff, expected, rtol=1e-4, atol=1e-5)


@ALL
def test_a_split_before_and_behind_keeps_the_gradients_apart(kind: str) -> None:
    reader = 'layer {{ name: "{0}" type: "TanH" bottom: "{1}" top: "{0}" }}'
    net = native_net(
        f"force_backward: true {INPUT}"
        + reader.format("a", "in")
        + f'layer {{ name: "l" bottom: "in" top: "y" {TEXTS[kind]} }}'
        + reader.format("b", "y")
        + reader.format("c", "y")
    )
    with net:
        net.blobs["in"].data[...] = random_blob(2, 3).data
        slope = 1 - np.tanh(net.blobs["in"].data) ** 2
        for _ in range(2):
            net.forward()
            for weight, name in enumerate("abc", 1):
                net.blobs[name].diff.fill(weight)
            net.backward()
            np.testing.assert_allclose(net.blobs["in"].diff, 6 * slope, rtol=1e-5)


def test_a_flatten_that_only_runs_forward_takes_no_memory_for_gradients() -> None:
    bottom = random_blob(2, 3)
    (top,) = run(layer_of(TEXTS["Flatten"]), [bottom])
    assert bottom.segments[1] is None
    assert top.segments[1] is None


class SharedHost(InProcessHost):
    """Python layers that want the memory of their blobs to be shared."""

    def allocator(self, layer_name: str) -> Allocator:
        return shared


@pytest.mark.parametrize("kind", ["Flatten", "Reshape"])
def test_a_python_layer_behind_finds_shared_memory(kind: str, layer_dir: object) -> None:
    (layer_dir / "shared_layers.py").write_text(PASS_ON)
    text = (
        f'{INPUT} layer {{ name: "x" type: "TanH" bottom: "in" top: "x" }} '
        f'layer {{ name: "l" bottom: "x" top: "y" {TEXTS[kind]} }} '
        'layer { name: "p" type: "Python" bottom: "y" top: "z" '
        'python_param { module: "shared_layers" layer: "PassOn" } }'
    )
    with SharedHost() as host, build_net(net_param(text), caffe_pb2.TEST, host=host) as net:
        net.forward()
        assert net.blobs["y"].data_segment is net.blobs["x"].data_segment
        assert net.blobs["y"].data_segment.shared


@AT_ONCE
def test_a_top_that_is_a_loss_has_its_own_diff(kind: str) -> None:
    bottom = random_blob(2, 3)
    (top,) = run(layer_of(TEXTS[kind] + " loss_weight: 1"), [bottom])
    assert np.shares_memory(top.data, bottom.data)
    assert (top.diff == 1).all()
    assert not bottom.diff.any()


PASS_ON = """
import caffe

class PassOn(caffe.Layer):
    def setup(self, bottom, top): pass
    def reshape(self, bottom, top): top[0].reshape(*bottom[0].shape)
    def forward(self, bottom, top): top[0].data[...] = bottom[0].data
    def backward(self, top, propagate_down, bottom): bottom[0].diff[...] = top[0].diff
"""
