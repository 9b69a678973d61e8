"""Layers as files of 2014 give them (V1, `layers { type: RELU }`) to present ones (`layer { type: "ReLU" }`)."""

from __future__ import annotations

from collections.abc import Mapping

from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError

_V1 = caffe_pb2.V1LayerParameter
_TYPES: Mapping[caffe_pb2.V1LayerParameter.LayerType.ValueType, str] = {
    _V1.NONE: "",
    _V1.ABSVAL: "AbsVal",
    _V1.ACCURACY: "Accuracy",
    _V1.ARGMAX: "ArgMax",
    _V1.BNLL: "BNLL",
    _V1.CONCAT: "Concat",
    _V1.CONTRASTIVE_LOSS: "ContrastiveLoss",
    _V1.CONVOLUTION: "Convolution",
    _V1.CROP: "Crop",
    _V1.DATA: "Data",
    _V1.DECONVOLUTION: "Deconvolution",
    _V1.DROPOUT: "Dropout",
    _V1.DUMMY_DATA: "DummyData",
    _V1.ELTWISE: "Eltwise",
    _V1.EUCLIDEAN_LOSS: "EuclideanLoss",
    _V1.EXP: "Exp",
    _V1.FLATTEN: "Flatten",
    _V1.HDF5_DATA: "HDF5Data",
    _V1.HDF5_OUTPUT: "HDF5Output",
    _V1.HINGE_LOSS: "HingeLoss",
    _V1.IM2COL: "Im2col",
    _V1.IMAGE_DATA: "ImageData",
    _V1.INFOGAIN_LOSS: "InfogainLoss",
    _V1.INNER_PRODUCT: "InnerProduct",
    _V1.LRN: "LRN",
    _V1.MEMORY_DATA: "MemoryData",
    _V1.MULTINOMIAL_LOGISTIC_LOSS: "MultinomialLogisticLoss",
    _V1.MVN: "MVN",
    _V1.POOLING: "Pooling",
    _V1.POWER: "Power",
    _V1.RELU: "ReLU",
    _V1.SIGMOID: "Sigmoid",
    _V1.SIGMOID_CROSS_ENTROPY_LOSS: "SigmoidCrossEntropyLoss",
    _V1.SILENCE: "Silence",
    _V1.SLICE: "Slice",
    _V1.SOFTMAX: "Softmax",
    _V1.SOFTMAX_LOSS: "SoftmaxWithLoss",
    _V1.SPLIT: "Split",
    _V1.TANH: "TanH",
    _V1.THRESHOLD: "Threshold",
    _V1.WINDOW_DATA: "WindowData",
}
#: Lists that run parallel to a layer's params, and the field of ParamSpec that each became.
_PARAM_LISTS = {"param": "name", "blob_share_mode": "share_mode", "blobs_lr": "lr_mult", "weight_decay": "decay_mult"}


def upgrade_v1_layers(net: caffe_pb2.NetParameter) -> bool:
    """Turns the `layers` of a net of 2014 into `layer`, in place.

    Returns:
        Whether there was anything to do.

    Raises:
        NetError: the net has both `layers` and `layer`.

    Source: Caffe, src/caffe/util/upgrade_proto.cpp (UpgradeV1Net, UpgradeV1LayerParameter).
    """
    if not net.layers:
        return False
    if net.layer:
        raise NetError(
            f"net {net.name!r} has {len(net.layers)} `layers {{ ... }}` of the format of 2014 beside {len(net.layer)} "
            "`layer { ... }`",
            remedy="write all of them as `layer { ... }`",
            layer=net.layers[0].name,
        )
    net.layer.extend(_upgrade_layer(layer) for layer in net.layers)
    net.ClearField("layers")
    return True


def _upgrade_layer(old: caffe_pb2.V1LayerParameter) -> caffe_pb2.LayerParameter:
    layer = caffe_pb2.LayerParameter()
    for descriptor, value in old.ListFields():
        field = descriptor.name
        if field == "type":
            layer.type = _TYPES[old.type]
        elif field == "name":
            layer.name = old.name
        elif field in _PARAM_LISTS:
            _spread(layer, _PARAM_LISTS[field], list(value))
        elif field.endswith("_param"):
            getattr(layer, field).CopyFrom(value)
        else:  # bottom, top, blobs, loss_weight, include, exclude: as they are
            getattr(layer, field).extend(value)
    return layer


def _spread(layer: caffe_pb2.LayerParameter, field: str, values: list[object]) -> None:
    """Gives each param its value of a parallel list."""
    while len(layer.param) < len(values):
        layer.param.add()
    for spec, value in zip(layer.param, values):
        setattr(spec, field, value)
