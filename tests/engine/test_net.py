import logging
from pathlib import Path

import numpy as np
import pytest

from farlayer.engine.net import Net
from farlayer.protos.errors import NetError
from tests.engine.support import native_net

TEXT = """
layer { name: "data" type: "Input" top: "x" top: "t" input_param { shape { dim: 2 dim: 3 } shape { dim: 2 dim: 4 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y"
        inner_product_param { num_output: 4 weight_filler { type: "gaussian" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" loss_weight: 2 }
"""


def filled(net: Net, seed: int = 2) -> Net:
    rng = np.random.default_rng(seed)
    for name in net.inputs:
        net.blobs[name].data[...] = rng.standard_normal(net.blobs[name].shape)
    return net


def test_forward_returns_the_weighted_loss() -> None:
    net = filled(native_net(TEXT))
    assert net.forward() == pytest.approx(2 * float(net.blobs["loss"].data))


def test_gradients_add_up_until_they_are_cleared() -> None:
    net = filled(native_net(TEXT))
    net.forward()
    net.backward()
    once = net.learnable_params[0].diff.copy()
    net.backward()
    np.testing.assert_allclose(net.learnable_params[0].diff, 2 * once, rtol=1e-5)
    net.clear_param_diffs()
    assert not net.learnable_params[0].diff.any()


def test_shared_layers_use_the_weights_of_the_other_net() -> None:
    train, test = native_net(TEXT), native_net(TEXT.replace("dim: 2", "dim: 5"), seed=9)
    test.share_trained_layers_with(train)
    train.learnable_params[0].data.fill(3)
    assert (test.learnable_params[0].data == 3).all()
    assert not np.shares_memory(test.learnable_params[0].diff, train.learnable_params[0].diff)


def test_layers_that_the_other_net_does_not_have_keep_their_weights() -> None:
    train, test = native_net(TEXT.replace('"ip"', '"other"')), native_net(TEXT, seed=9)
    before = test.learnable_params[0].data.copy()
    test.share_trained_layers_with(train)
    np.testing.assert_array_equal(test.learnable_params[0].data, before)


def test_layers_of_one_name_with_other_weights_are_refused() -> None:
    other = native_net(TEXT.replace("num_output: 4", "num_output: 4 bias_term: false"))
    expected = r"layer 'ip'.*\[\(4, 3\)\], those of the same layer in the other net \[\(4, 3\), \(4,\)\]"
    with pytest.raises(NetError, match=expected):
        other.share_trained_layers_with(native_net(TEXT))


def test_a_reshaped_input_reshapes_the_net() -> None:
    net = native_net(TEXT)
    net.blobs["x"].reshape(7, 3)
    net.blobs["t"].reshape(7, 4)
    net.reshape()
    assert net.blobs["y"].shape == (7, 4)
    filled(net).forward()
    net.backward()


def test_an_empty_batch_runs_forward_and_backward() -> None:
    net = native_net(TEXT)
    net.blobs["x"].reshape(0, 3)
    net.blobs["t"].reshape(0, 4)
    assert net.forward() == 0
    net.clear_param_diffs()
    net.backward()
    assert not net.learnable_params[0].diff.any()


def test_a_layer_is_found_by_name_and_an_unknown_one_lists_them() -> None:
    net = native_net(TEXT)
    assert net.layer("ip").type_name == "InnerProduct"
    with pytest.raises(NetError, match="no layer 'pi'; it has: data, ip, loss"):
        net.layer("pi")


CHAIN = """
layer { name: "data" type: "Input" top: "x" input_param { shape { dim: 2 dim: 2 } } }
layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" inner_product_param { num_output: 2
        weight_filler { type: "constant" value: 1 } } param { name: "w" } }
layer { name: "b" type: "TanH" bottom: "a" top: "b" }
layer { name: "c" type: "InnerProduct" bottom: "b" top: "c" inner_product_param { num_output: 2
        weight_filler { type: "constant" value: 1 } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "c" bottom: "x" top: "loss" }
"""


@pytest.mark.parametrize(("start", "end"), [("b", "c"), (3, 4)])
def test_a_part_of_the_net_runs_forward(start: str | int, end: str | int) -> None:
    net = native_net(CHAIN)
    assert net.layer_names[3:5] == ["b", "c"]
    net.blobs["a"].data[...] = 0.5
    assert net.forward(start, end) == 0
    np.testing.assert_allclose(net.blobs["c"].data, 2 * np.tanh(np.full((2, 2), 0.5)), rtol=1e-6)
    assert not net.blobs["loss"].data.any()
    np.testing.assert_array_equal(net.blobs["a"].data, 0.5)
    assert net.forward("loss") == pytest.approx(float(net.blobs["loss"].data))
    assert net.forward(end="a") == 0


def test_a_part_of_the_net_runs_backward() -> None:
    net = filled(native_net(CHAIN))
    net.forward()
    net.clear_param_diffs()
    net.backward("loss", "c")
    assert net.blobs["b"].diff.any()
    assert not net.blobs["a"].diff.any()
    assert net.layer("c").params[0].diff.any()
    assert not net.layer("a").params[0].diff.any()
    net.blobs["b"].diff[...] = 1
    net.backward("b", 3)
    np.testing.assert_allclose(net.blobs["a"].diff, 1 - net.blobs["b"].data ** 2, rtol=1e-5)
    net.backward("a")
    assert net.layer("a").params[0].diff.any()


@pytest.mark.parametrize("place", [-1, 6, "d"])
def test_a_part_that_the_net_does_not_have_is_refused(place: str | int) -> None:
    net = native_net(CHAIN)
    for run in (net.forward, net.backward):
        with pytest.raises(NetError, match=f"no layer.*{place}"):
            run(place)
        with pytest.raises(NetError, match=f"no layer.*{place}"):
            run(None, place)


def test_a_top_that_changes_its_shape_in_forward_is_seen_by_the_layers_after_it_in_the_same_pass(
    layer_dir: Path,
) -> None:
    (layer_dir / "rows.py").write_text(
        "import caffe\n"
        "class Rows(caffe.Layer):\n"
        "    def setup(self, bottom, top): pass\n"
        "    def reshape(self, bottom, top): top[0].reshape(1, 3)\n"
        "    def forward(self, bottom, top): top[0].reshape(int(bottom[0].data[0]), 3)\n"
        "    def backward(self, top, propagate_down, bottom): pass\n"
    )
    net = native_net(
        'layer { name: "n" type: "Input" top: "n" input_param { shape { dim: 1 } } }'
        'layer { name: "rows" type: "Python" bottom: "n" top: "x" python_param { module: "rows" layer: "Rows" } }'
        'layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 2 } }'
        'layer { name: "tanh" type: "TanH" bottom: "y" top: "z" }'
    )
    with net:
        for rows in (4, 2, 7, 0, 1):
            net.blobs["n"].data[...] = rows
            net.forward()
            assert [net.blobs[name].shape for name in ("x", "y", "z")] == [(rows, 3), (rows, 2), (rows, 2)]


def test_debug_info_tells_the_mean_of_every_blob_in_the_words_of_caffe(caplog: pytest.LogCaptureFixture) -> None:
    net = native_net("debug_info: true " + CHAIN)
    caplog.set_level(logging.INFO, logger="farlayer.engine.debug_info")
    net.blobs["x"].data[...] = [[1, -1], [2, -3]]
    net.forward()
    net.clear_param_diffs()
    net.backward()
    lines = [record.message.strip() for record in caplog.records]
    assert "[Forward] Input x data: 1.75" in lines
    assert "[Forward] Layer a, top blob a data: 0.5" in lines
    assert "[Forward] Layer a, param blob w data: 1" in lines
    assert "[Forward] Layer c, param blob 1 data: 0" in lines
    assert f"[Backward] Layer b, bottom blob a diff: {np.abs(net.blobs['a'].diff).mean():g}" in lines
    assert f"[Backward] Layer c, param blob 0 diff: {np.abs(net.layer('c').params[0].diff).mean():g}" in lines
    assert lines[-1].startswith("[Backward] All net params (data, diff): L1 norm = (8, ")
    assert not any("bottom blob x" in line for line in lines)


def test_without_debug_info_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    net = native_net(CHAIN)
    caplog.set_level(logging.INFO, logger="farlayer.engine.debug_info")
    net.forward()
    net.backward()
    assert caplog.records == []
