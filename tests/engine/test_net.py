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
