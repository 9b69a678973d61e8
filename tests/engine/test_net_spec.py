"""NetSpec gives the text that Caffe's gives."""

import re

import numpy as np
import pytest

from farlayer.engine.net_spec import Function, NetSpec, Top, param_name_dict, to_proto
from farlayer.engine.net_spec import layers as L  # noqa: N812  # as users import them
from farlayer.engine.net_spec import params as P  # noqa: N812
from farlayer.engine.prototxt import to_text
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError
from tests.engine.support import native_net, net_param

LENET = """\
layer {
  name: "data"
  type: "Data"
  top: "data"
  top: "label"
  transform_param {
    scale: 0.00390625
  }
  data_param {
    source: "db"
    batch_size: 64
    backend: LMDB
  }
}
layer {
  name: "conv1"
  type: "Convolution"
  bottom: "data"
  top: "conv1"
  param {
    lr_mult: 1
  }
  param {
    lr_mult: 2
  }
  convolution_param {
    num_output: 20
    kernel_size: 5
    weight_filler {
      type: "xavier"
    }
  }
}
layer {
  name: "pool1"
  type: "Pooling"
  bottom: "conv1"
  top: "pool1"
  pooling_param {
    pool: MAX
    kernel_size: 2
    stride: 2
  }
}
layer {
  name: "ip1"
  type: "InnerProduct"
  bottom: "pool1"
  top: "ip1"
  inner_product_param {
    num_output: 500
    weight_filler {
      type: "xavier"
    }
  }
}
layer {
  name: "relu1"
  type: "ReLU"
  bottom: "ip1"
  top: "ip1"
}
layer {
  name: "loss"
  type: "SoftmaxWithLoss"
  bottom: "ip1"
  bottom: "label"
  top: "loss"
}
"""


def test_lenet_as_in_caffe_s_own_example() -> None:
    n = NetSpec()
    n.data, n.label = L.Data(
        batch_size=64, backend=P.Data.LMDB, source="db", transform_param=dict(scale=1.0 / 256), ntop=2
    )
    n.conv1 = L.Convolution(
        n.data,
        kernel_size=5,
        num_output=20,
        weight_filler=dict(type="xavier"),
        param=[dict(lr_mult=1), dict(lr_mult=2)],
    )
    n.pool1 = L.Pooling(n.conv1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.ip1 = L.InnerProduct(n.pool1, num_output=500, weight_filler=dict(type="xavier"))
    n.relu1 = L.ReLU(n.ip1, in_place=True)
    n.loss = L.SoftmaxWithLoss(n.relu1, n.label)
    expected = net_param(LENET)
    assert n.to_proto() == expected
    # str() of older protobuf releases has another order of fields.
    assert to_text(n.to_proto()).replace(".0\n", "\n") == LENET


def test_tops_without_a_name_are_numbered_within_their_type() -> None:
    data, label = L.DummyData(shape=[dict(dim=[2, 3]), dict(dim=[2])], ntop=2)
    first = L.InnerProduct(data, num_output=4)
    second = L.InnerProduct(L.ReLU(first, in_place=True), num_output=5)
    loss = L.SoftmaxWithLoss(second, label)
    net = loss.to_proto()
    assert net == to_proto(loss)
    assert [layer.name for layer in net.layer] == [
        "DummyData1",
        "InnerProduct1",
        "ReLU1",
        "InnerProduct2",
        "SoftmaxWithLoss1",
    ]
    assert list(net.layer[0].top) == ["DummyData1", "DummyData2"]
    assert list(net.layer[2].top) == list(net.layer[2].bottom) == ["InnerProduct1"]
    assert list(net.layer[4].bottom) == ["InnerProduct2", "DummyData2"]


def test_a_python_layer_has_as_many_tops_as_are_asked_for() -> None:
    n = NetSpec()
    tops = L.Python(ntop=4, python_param=dict(module="m", layer="C", param_str="{}"), include=dict(phase=0))
    n.a, n.b, n.c, n.d = tops
    assert n.to_proto() == net_param("""
        layer { name: "a" type: "Python" top: "a" top: "b" top: "c" top: "d" include { phase: TRAIN }
                python_param { module: "m" layer: "C" param_str: "{}" } }
    """)


def test_a_layer_without_tops_is_a_part_of_the_net_by_its_name() -> None:
    n = NetSpec()
    n.x = L.Input(shape=dict(dim=[1]))
    n.quiet = L.Silence(n.x, ntop=0)
    assert isinstance(n.quiet, Function)
    assert n.to_proto() == net_param("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 } } }
        layer { name: "quiet" type: "Silence" bottom: "x" }
    """)
    assert to_proto(L.Silence(n.x, ntop=0)).layer[1].name == "Silence1"


def test_fields_are_the_type_s_own_first_and_then_the_layer_s() -> None:
    n = NetSpec()
    n.x = L.Input(input_param=dict(shape=[dict(dim=3)]))
    n.y = L.Convolution(n.x, name="other", loss_weight=2, num_output=np.int64(3), kernel_size=[3, 1], pad=(1, 0))
    n.z = L.Deconvolution(n.x, convolution_param=dict(num_output=1, weight_filler={}), propagate_down=False)
    y, z = n.to_proto().layer[1:]
    assert (y.name, list(y.top), list(y.loss_weight)) == ("other", ["y"], [2])
    assert list(y.convolution_param.kernel_size) == [3, 1]
    assert list(y.convolution_param.pad) == [1, 0]
    assert z.convolution_param == caffe_pb2.ConvolutionParameter(num_output=1)
    assert list(z.propagate_down) == [False]


def test_a_message_is_taken_as_it_is() -> None:
    filler = caffe_pb2.FillerParameter(type="msra")
    layer = to_proto(L.InnerProduct(L.Input(), weight_filler=filler, param=[caffe_pb2.ParamSpec(lr_mult=3)])).layer[1]
    assert layer.inner_product_param.weight_filler == filler
    assert layer.param[0].lr_mult == 3


def test_a_net_is_changed_by_name() -> None:
    n = NetSpec()
    n["a/x"] = L.Input(shape=dict(dim=[1]))
    n.b = L.Power(n["a/x"], scale=2)
    n.c = L.AbsVal(n.b)
    n.update("b", dict(scale=3, power=2))
    del n.c
    n.d = L.AbsVal(n.b)
    del n["d"]
    assert n.keys() == ["a/x", "b"]
    assert all(isinstance(top, Top) for top in n.vals())
    assert [layer.name for layer in n.to_proto().layer] == ["a/x", "b"]
    assert n.to_proto().layer[1].power_param == caffe_pb2.PowerParameter(scale=3, power=2)


def test_a_net_of_many_layers_is_no_deeper_than_another() -> None:
    top = L.Input(shape=dict(dim=[1]))
    for _ in range(3000):
        top = L.TanH(top)
    assert len(top.to_proto().layer) == 3001


def test_a_layer_that_is_read_twice_is_made_once_before_its_readers() -> None:
    x = L.Input(shape=dict(dim=[2]))
    y = L.TanH(x)
    net = to_proto(L.Eltwise(L.AbsVal(y), y), y)
    assert [layer.type for layer in net.layer] == ["Input", "TanH", "AbsVal", "Eltwise"]


def test_what_it_makes_can_be_run() -> None:
    n = NetSpec()
    n.x = L.Input(shape=dict(dim=[2, 3]))
    n.y = L.InnerProduct(n.x, num_output=2, weight_filler=dict(type="constant", value=1))
    with native_net(str(n.to_proto())) as net:
        net.blobs["x"].data[...] = 1
        net.forward()
        np.testing.assert_array_equal(net.blobs["y"].data, np.full((2, 2), 3))


def test_each_type_with_a_message_of_its_own_is_known() -> None:
    names = param_name_dict()
    assert names["Convolution"] == "convolution"
    assert names["HDF5Data"] == "hdf5_data"
    assert names["LRN"] == "lrn"
    assert "SoftmaxWithLoss" not in names


@pytest.mark.parametrize(
    ("keywords", "message", "remedy"),
    [
        (dict(num_outputs=3), r"layer 'y' \(InnerProduct\) has no field 'num_outputs'", "did you mean 'num_output'"),
        (dict(zzz=3), "has no field 'zzz'", "fields of a InnerProduct layer: name, type, "),
        (dict(num_output="three"), "cannot take num_output = 'three'", "its type in caffe.proto"),
        (dict(num_output=-1), "cannot take num_output = -1", "its type in caffe.proto"),
        (dict(weight_filler=dict(typ="x")), "cannot take weight_filler", "correct the names in weight_filler"),
        (dict(weight_filler=3), "cannot take weight_filler = 3", ""),
    ],
)
def test_what_does_not_fit_a_layer_is_told(keywords: dict[str, object], message: str, remedy: str) -> None:
    n = NetSpec()
    n.y = L.InnerProduct(L.Input(), **keywords)
    with pytest.raises(NetError, match=message) as caught:
        n.to_proto()
    assert caught.value.layer == "y"
    assert remedy in caught.value.remedy


def test_a_field_of_a_message_inside_is_told_with_the_message() -> None:
    wrong = {
        L.LSTM(L.Input(), L.Input(), num_output=3): r"field of convolution_param, .*recurrent_param: give it inside",
        L.DetectionOutput(
            *(L.Input() for _ in range(3)), nms_param={}
        ): r"detection_output_param=dict\(nms_param=...\)",
    }
    for top, remedy in wrong.items():
        with pytest.raises(NetError, match="has no field") as caught:
            to_proto(top)
        assert re.search(remedy, caught.value.remedy)


def test_a_bottom_that_is_no_top_is_refused() -> None:
    with pytest.raises(TypeError, match="TanH: bottom 0 is a str, not a top"):
        L.TanH("data")
    with pytest.raises(TypeError, match="gives a tuple: pick one"):
        L.TanH(L.Data(ntop=2))


def test_unknown_names_are_told() -> None:
    n = NetSpec()
    n.x = L.Input()
    with pytest.raises(AttributeError, match="no top 'y'; it has: x"):
        _ = n.y
    with pytest.raises(KeyError, match="y"):
        _ = n["y"]
    with pytest.raises(AttributeError, match="no NopeParameter in"):
        _ = P.Nope
