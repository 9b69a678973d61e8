import time

import numpy as np

from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.neuron.tanh import TanHLayer
from farlayer.engine.net import Net
from farlayer.engine.timing import NetTimer
from tests.engine.support import native_net

NET = """
layer { name: "data" type: "Input" top: "x" input_param { shape { dim: 4 dim: 8 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y"
  inner_product_param { num_output: 8 weight_filler { type: "gaussian" } } }
layer { name: "tanh" type: "TanH" bottom: "y" top: "z" }
"""
LOSS = """
layer { name: "target" type: "DummyData" top: "t" dummy_data_param { shape { dim: 4 dim: 8 } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "z" bottom: "t" top: "loss" }
"""


class _Slow(TanHLayer):
    """Takes 3 ms forward and 6 ms backward, where it runs."""

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        time.sleep(0.003)
        super().forward(bottom, top)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        time.sleep(0.006)
        super().backward(top, propagate_down, bottom)


def timed(net: Net, passes: int = 3) -> NetTimer:
    net.nodes[2].layer.__class__ = _Slow
    timer = NetTimer(net)
    timer.warm_up()
    for _ in range(passes):
        timer.run()
    return timer


def test_each_pass_of_each_layer_is_kept() -> None:
    with native_net(NET + LOSS) as net:
        timer = timed(net)
    assert [(layer.name, layer.type_name) for layer in timer.layers][:3] == [
        ("data", "Input"),
        ("ip", "InnerProduct"),
        ("tanh", "TanH"),
    ]
    for layer in timer.layers:
        assert len(layer.forward_s) == len(layer.backward_s) == 3
    assert min(timer.layers[2].forward_s) >= 0.003
    assert min(timer.layers[2].backward_s) >= 0.006
    for whole, layers in (
        (timer.forward_s, [layer.forward_s for layer in timer.layers]),
        (timer.backward_s, [layer.backward_s for layer in timer.layers]),
    ):
        np.testing.assert_allclose(whole, np.sum(layers, axis=0), rtol=1e-6)


def test_without_a_loss_only_what_learns_runs_backward() -> None:
    with native_net(NET) as net:
        timer = timed(net)
        net.blobs["y"].diff.fill(1)
        net.blobs["x"].data.fill(1)
        timer.run()
        assert net.layer("ip").params[0].diff.any()
    assert max(timer.layers[2].backward_s) < 0.006


def test_gradients_of_params_do_not_add_up_over_passes() -> None:
    with native_net(NET + LOSS) as net:
        net.blobs["x"].data.fill(1)
        timer = timed(net, passes=1)
        first = net.layer("ip").params[0].diff.copy()
        timer.run()
        np.testing.assert_array_equal(net.layer("ip").params[0].diff, first)
    assert first.any()
