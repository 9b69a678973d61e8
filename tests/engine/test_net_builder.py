import logging
from pathlib import Path

import numpy as np
import pytest

from farlayer.blobs.segment import Allocator, SharedSegment, shared
from farlayer.client.in_process_host import InProcessHost
from farlayer.engine.net_builder import build_net
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import FarlayerError, NetError
from tests.engine.support import native_net, net_param

DATA = """layer { name: "data" type: "Input" top: "x" top: "label"
                 input_param { shape { dim: 2 dim: 3 } shape { dim: 2 } } }"""
IP = 'layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 4 } }'
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "y" bottom: "label" top: "loss" }'
ACCURACY = """layer { name: "accuracy" type: "Accuracy" bottom: "y" bottom: "label" top: "accuracy"
                     include { phase: TEST } }"""

BOTH_RULES = "include { phase: TRAIN } exclude { phase: TEST } "


def test_a_net_knows_its_layers_blobs_inputs_and_outputs() -> None:
    net = native_net('name: "n"' + DATA + IP + LOSS)
    assert (net.name, net.phase) == ("n", caffe_pb2.TRAIN)
    assert net.layer_names == ["data", "ip", "loss"]
    assert list(net.blobs) == ["x", "label", "y", "loss"]
    assert (net.inputs, net.outputs) == (["x", "label"], ["loss"])
    assert net.loss_weights() == {"loss": 1}


def test_phases_have_their_own_layers_and_splits() -> None:
    train, test = (native_net(DATA + IP + LOSS + ACCURACY, phase) for phase in (caffe_pb2.TRAIN, caffe_pb2.TEST))
    assert train.layer_names == ["data", "ip", "loss"]
    assert test.layer_names == ["data", "label_data_1_split", "ip", "y_ip_0_split", "loss", "accuracy"]
    assert test.outputs == ["accuracy", "loss"]


def test_level_and_stages_choose_layers() -> None:
    deep = 'layer { name: "deep" type: "TanH" bottom: "x" top: "x" include { min_level: 2 stage: "extra" } }'
    param = net_param(DATA + deep)
    host = InProcessHost()
    assert build_net(param, caffe_pb2.TEST, host=host).layer_names == ["data"]
    net = build_net(param, caffe_pb2.TEST, host=host, level=2, stages=["extra"])
    assert net.layer_names == ["data", "deep"]
    param.state.level = 3
    param.state.stage.append("extra")
    assert build_net(param, caffe_pb2.TEST, host=host).layer_names == ["data", "deep"]
    assert not param.state.HasField("phase"), "the definition was changed"


def test_the_same_seed_builds_the_same_net() -> None:
    text = DATA + IP.replace("num_output: 4", 'num_output: 4 weight_filler { type: "xavier" }')
    weights = [native_net(text, seed=seed).learnable_params[0].data for seed in (1, 1, 2)]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert (weights[0] != weights[2]).any()


def test_propagate_down_true_gives_a_bottom_its_gradient_though_nothing_before_learns() -> None:
    plain, forced = (
        native_net(DATA + IP.replace('top: "y"', f'top: "y" {more}') + LOSS) for more in ("", "propagate_down: true")
    )
    for net in (plain, forced):
        net.blobs["x"].data[...] = 1
        net.layer("ip").params[0].data[...] = np.arange(12).reshape(4, 3)
        net.forward()
        net.backward()
    assert not plain.blobs["x"].diff.any()
    expected = forced.blobs["y"].diff @ forced.layer("ip").params[0].data
    np.testing.assert_allclose(forced.blobs["x"].diff, expected, rtol=1e-6)
    assert expected.any()


def test_a_param_learns_unless_its_lr_mult_is_zero() -> None:
    rates = "param { lr_mult: -1 } param { lr_mult: 0 }"
    net = native_net(DATA + IP.replace('top: "y"', f'top: "y" {rates}') + LOSS)
    assert net.layer("ip").param_propagate_down == [True, False]


def test_an_in_place_layer_has_one_blob() -> None:
    net = native_net(DATA + IP + 'layer { name: "r" type: "ReLU" bottom: "y" top: "y" }')
    node = net.nodes[-1]
    assert node.bottom[0] is node.top[0] is net.blobs["y"]
    assert net.outputs == ["label", "y"]


def test_in_place_and_in_place_again_trains_as_apart() -> None:
    chain = (
        'layer { name: "a" type: "TanH" bottom: "y" top: "%s" } layer { name: "b" type: "ReLU" bottom: "%s" top: "%s" }'
    )
    text = DATA + IP.replace("num_output: 4", 'num_output: 4 weight_filler { type: "xavier" }')
    gradients = []
    for names in (("y", "y", "y"), ("h", "h", "z")):
        net = native_net(text + chain % names + LOSS.replace('"y"', f'"{names[2]}"'))
        net.blobs["x"].data[...] = np.random.default_rng(1).standard_normal((2, 3))
        net.forward()
        net.clear_param_diffs()
        net.backward()
        gradients.append(net.learnable_params[0].diff)
    assert gradients[0].any()
    np.testing.assert_allclose(*gradients, rtol=1e-6)


def test_a_loss_without_a_named_top_still_counts() -> None:
    net = native_net(DATA + IP + LOSS.replace('top: "loss"', ""))
    assert net.forward() == pytest.approx(np.log(4), rel=1e-5)
    assert net.outputs == []
    assert "loss" not in net.blobs


def test_older_input_fields_become_an_input_layer() -> None:
    net = native_net('input: "x" input_dim: 2 input_dim: 3 input_dim: 1 input_dim: 1 ' + IP)
    assert net.inputs == ["x"]
    assert net.blobs["x"].shape == (2, 3, 1, 1)


def test_blobs_at_a_python_layer_are_allocated_as_its_host_wants(layer_dir: Path) -> None:
    (layer_dir / "identity.py").write_text(
        "import caffe\n"
        "class Identity(caffe.Layer):\n"
        "    def setup(self, bottom, top): pass\n"
        "    def reshape(self, bottom, top): top[0].reshape(*bottom[0].shape)\n"
        "    def forward(self, bottom, top): top[0].data[...] = bottom[0].data\n"
        "    def backward(self, top, propagate_down, bottom): pass\n"
    )

    class SharingHost(InProcessHost):
        def allocator(self, layer_name: str) -> Allocator:
            return shared

    python = """layer { name: "p" type: "Python" bottom: "y" top: "z"
                        python_param { module: "identity" layer: "Identity" } }"""
    tanh = 'layer { name: "t" type: "TanH" bottom: "y" top: "u" }'
    with SharingHost() as host, build_net(net_param(DATA + IP + python + tanh), caffe_pb2.TRAIN, host=host) as net:
        net.forward()
        assert isinstance(net.blobs["y"].data_segment, SharedSegment)
        assert net.blobs["z"].allocate is shared
        assert not isinstance(net.blobs["x"].data_segment, SharedSegment)
        assert not isinstance(net.blobs["u"].data_segment, SharedSegment)
        assert net.blobs["y_ip_0_split_0"].data_segment is net.blobs["y"].data_segment


def test_layers_that_were_set_up_before_an_error_are_closed(layer_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (layer_dir / "good.py").write_text(
        "import caffe\n"
        "class Good(caffe.Layer):\n"
        "    def setup(self, bottom, top): pass\n"
        "    def reshape(self, bottom, top): top[0].reshape(1)\n"
    )
    sessions = []

    class WatchingHost(InProcessHost):
        def session(self, spec):  # noqa: ANN001, ANN202
            sessions.append(super().session(spec))
            return sessions[-1]

    python = 'layer { name: "p" type: "Python" top: "p" python_param { module: "good" layer: "Good" } }'
    with WatchingHost() as host, pytest.raises(NetError):
        build_net(net_param(python + 'layer { name: "t" type: "TanH" bottom: "p" bottom: "p" }'), 0, host=host)
    with pytest.raises(FarlayerError, match="closed"):
        sessions[0].forward()


@pytest.mark.parametrize(
    ("text", "layer", "message"),
    [
        (DATA + IP.replace('"x"', '"xx"'), "ip", "unknown bottom blob 'xx'; available at this point: x, label"),
        (DATA + IP + IP.replace('"ip"', '"ip2"'), "ip2", "top blob 'y' is already produced by layer 'ip'"),
        (DATA + IP.replace('"y"', '"x"'), "ip", "blob 'x' is both its bottom and its top"),
        (DATA + IP.replace('"InnerProduct"', '"InnerProdukt"'), "ip", "unknown type 'InnerProdukt'"),
        (DATA + IP.replace('top: "y"', ""), "ip", r"takes exactly 1 top blob\(s\), got 0"),
        (
            DATA + LOSS.replace('"y"', '"x" propagate_down: true'),
            "loss",
            "propagate_down is given 1 times for 2 bottoms",
        ),
        (DATA + IP.replace("bottom:", BOTH_RULES + "bottom:"), "ip", "both include and exclude"),
        (DATA.replace('"label"', '"x"'), "data", "top blob 'x' is already produced by layer 'data'"),
        (DATA + IP.replace("num_output: 4", ""), "ip", "num_output is 0"),
        (DATA + IP.replace("num_output: 4", 'num_output: 4 weight_filler { type: "?" }'), "ip", "unknown filler type"),
    ],
)
def test_a_bad_net_is_refused_with_its_layer_and_a_remedy(text: str, layer: str, message: str) -> None:
    with pytest.raises(NetError, match=message) as caught:
        native_net(text)
    assert caught.value.layer == layer
    assert f"'{layer}'" in caught.value.message
    assert caught.value.remedy
    assert caught.value.exit_code == 2


def test_building_tells_shapes_and_losses_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "farlayer.engine"):
        native_net(DATA + IP + LOSS)
    assert "layer 'ip' -> 'y' (2, 4)" in caplog.text
    assert "layer 'loss' -> 'loss' (), loss 1.0" in caplog.text


def test_the_choice_of_an_engine_is_noted_and_has_no_effect(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="farlayer.engine.net_builder")
    relu = 'layer { name: "%s" type: "ReLU" bottom: "x" top: "x" relu_param { %s } }'
    native_net(DATA + relu % ("a", "engine: CUDNN") + relu % ("b", "negative_slope: 1") + relu % ("c", "engine: CAFFE"))
    assert "`engine` has no effect here; layers that give it: a, c" in caplog.text
    caplog.clear()
    native_net(DATA + IP)
    assert "`engine`" not in caplog.text


@pytest.mark.parametrize(("spec", "needs"), [("", True), ("param { lr_mult: 0 } " * 3, False)])
def test_a_batch_norm_without_param_lines_counts_as_learning(spec: str, needs: bool) -> None:
    """As in Caffe, where the definition is asked, not what setup adds to it; a solver still leaves the params alone."""
    norm = f'layer {{ name: "bn" type: "BatchNorm" bottom: "x" top: "n" {spec} }}'
    ip = 'layer { name: "ip" type: "InnerProduct" bottom: "n" top: "y" inner_product_param { num_output: 4 } }'
    net = native_net(DATA + norm + ip + LOSS)
    node = next(node for node in net.nodes if node.layer.name == "ip")
    assert node.propagate_down == [needs]
    assert [param.lr_mult for param in net.learnable if param.layer == "bn"] == [0, 0, 0]


def test_layers_of_one_name_with_params_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    twin = IP.replace('bottom: "x" top: "y"', 'bottom: "y" top: "z"')
    native_net(DATA + IP + twin)
    assert "several layers with params are named 'ip': from files only the first gets weights" in caplog.text
    caplog.clear()
    native_net(DATA + IP + LOSS.replace('"loss" type', '"ip" type'))
    assert caplog.text == ""
