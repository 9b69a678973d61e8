import numpy as np
import pytest

from farlayer.client.in_process_host import InProcessHost
from farlayer.engine.finite import check_finite_loss, find_not_finite
from farlayer.engine.net import Net
from farlayer.engine.net_builder import build_net
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NotFiniteError
from tests.engine.support import net_param

TEXT = """
layer { name: "data" type: "Input" top: "x" top: "t" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "ip1" type: "InnerProduct" bottom: "x" top: "h" inner_product_param { num_output: 3 } }
layer { name: "ip2" type: "InnerProduct" bottom: "h" top: "y" inner_product_param { num_output: 3 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""


def checking_net(*, check_finite: bool = True) -> Net:
    return build_net(net_param(TEXT), caffe_pb2.TRAIN, host=InProcessHost(), check_finite=check_finite)


def test_a_finite_net_runs() -> None:
    net = checking_net()
    assert net.forward() == 0
    assert find_not_finite(net) is None


def test_the_layer_that_first_made_a_nan_is_named() -> None:
    net = checking_net()
    net.layer("ip1").params[1].data[0] = np.nan
    with pytest.raises(NotFiniteError, match=r"loss is nan.*top 'h' of layer 'ip1' \(InnerProduct\)") as caught:
        net.forward()
    assert caught.value.layer == "ip1"
    assert caught.value.remedy


def test_an_input_that_is_infinite_is_named() -> None:
    net = checking_net()
    net.blobs["t"].data[0, 0] = np.inf
    with pytest.raises(NotFiniteError, match="top 't' of layer 'data'"):
        net.forward()


def test_a_param_is_named_where_all_tops_are_finite() -> None:
    net = checking_net()
    net.forward()
    net.layer("ip2").params[0].data[1, 1] = np.inf
    assert find_not_finite(net) == ("ip2", "param 0 of layer 'ip2' (InnerProduct)")


def test_a_loss_that_overflows_in_the_sum_is_told_as_such() -> None:
    net = checking_net()
    net.forward()
    with pytest.raises(NotFiniteError, match="overflowed when it was summed"):
        check_finite_loss(net, np.inf)


def test_without_the_option_a_nan_passes() -> None:
    net = checking_net(check_finite=False)
    net.layer("ip1").params[1].data[0] = np.nan
    assert np.isnan(net.forward())
