"""Layers as files of 2013 give them (V0) to those of 2014 (V1): one message for all types becomes one for each."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple

from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError

logger = logging.getLogger(__name__)

_Type = caffe_pb2.V1LayerParameter.LayerType


class _Kind(NamedTuple):
    """What a V0 type became: its V1 type, and the message that holds its fields."""

    v1_type: _Type.ValueType
    message: str


class _Place(NamedTuple):
    """Where a V0 field went: the name of the new field, and the V0 types that may have it."""

    field: str
    types: frozenset[str]


_KINDS: Mapping[str, _Kind] = {
    "accuracy": _Kind(caffe_pb2.V1LayerParameter.ACCURACY, "accuracy_param"),
    "bnll": _Kind(caffe_pb2.V1LayerParameter.BNLL, ""),
    "concat": _Kind(caffe_pb2.V1LayerParameter.CONCAT, "concat_param"),
    "conv": _Kind(caffe_pb2.V1LayerParameter.CONVOLUTION, "convolution_param"),
    "data": _Kind(caffe_pb2.V1LayerParameter.DATA, "data_param"),
    "dropout": _Kind(caffe_pb2.V1LayerParameter.DROPOUT, "dropout_param"),
    "euclidean_loss": _Kind(caffe_pb2.V1LayerParameter.EUCLIDEAN_LOSS, ""),
    "flatten": _Kind(caffe_pb2.V1LayerParameter.FLATTEN, ""),
    "hdf5_data": _Kind(caffe_pb2.V1LayerParameter.HDF5_DATA, "hdf5_data_param"),
    "hdf5_output": _Kind(caffe_pb2.V1LayerParameter.HDF5_OUTPUT, "hdf5_output_param"),
    "im2col": _Kind(caffe_pb2.V1LayerParameter.IM2COL, ""),
    "images": _Kind(caffe_pb2.V1LayerParameter.IMAGE_DATA, "image_data_param"),
    "infogain_loss": _Kind(caffe_pb2.V1LayerParameter.INFOGAIN_LOSS, "infogain_loss_param"),
    "innerproduct": _Kind(caffe_pb2.V1LayerParameter.INNER_PRODUCT, "inner_product_param"),
    "lrn": _Kind(caffe_pb2.V1LayerParameter.LRN, "lrn_param"),
    "multinomial_logistic_loss": _Kind(caffe_pb2.V1LayerParameter.MULTINOMIAL_LOGISTIC_LOSS, ""),
    "pool": _Kind(caffe_pb2.V1LayerParameter.POOLING, "pooling_param"),
    "relu": _Kind(caffe_pb2.V1LayerParameter.RELU, "relu_param"),
    "sigmoid": _Kind(caffe_pb2.V1LayerParameter.SIGMOID, "sigmoid_param"),
    "softmax": _Kind(caffe_pb2.V1LayerParameter.SOFTMAX, "softmax_param"),
    "softmax_loss": _Kind(caffe_pb2.V1LayerParameter.SOFTMAX_LOSS, ""),
    "split": _Kind(caffe_pb2.V1LayerParameter.SPLIT, ""),
    "tanh": _Kind(caffe_pb2.V1LayerParameter.TANH, "tanh_param"),
    "window_data": _Kind(caffe_pb2.V1LayerParameter.WINDOW_DATA, "window_data_param"),
}
_PADDING = "padding"  # a type of its own that V1 layers have as a field

#: Fields that every V1 layer has itself.
_COMMON = ("name", "blobs", "blobs_lr", "weight_decay")
#: Fields that went to transform_param, for any type.
_TRANSFORM = {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size", "mirror": "mirror"}


def _place(field: str, *types: str) -> _Place:
    return _Place(field, frozenset(types))


_PLACES: Mapping[str, _Place] = {
    "num_output": _place("num_output", "conv", "innerproduct"),
    "biasterm": _place("bias_term", "conv", "innerproduct"),
    "weight_filler": _place("weight_filler", "conv", "innerproduct"),
    "bias_filler": _place("bias_filler", "conv", "innerproduct"),
    "pad": _place("pad", "conv", "pool"),
    "kernelsize": _place("kernel_size", "conv", "pool"),
    "group": _place("group", "conv"),
    "stride": _place("stride", "conv", "pool"),
    "pool": _place("pool", "pool"),
    "dropout_ratio": _place("dropout_ratio", "dropout"),
    "local_size": _place("local_size", "lrn"),
    "alpha": _place("alpha", "lrn"),
    "beta": _place("beta", "lrn"),
    "k": _place("k", "lrn"),
    "source": _place("source", "data", "hdf5_data", "images", "window_data", "infogain_loss"),
    "batchsize": _place("batch_size", "data", "hdf5_data", "images", "window_data"),
    "rand_skip": _place("rand_skip", "data", "images"),
    "shuffle_images": _place("shuffle", "images"),
    "new_height": _place("new_height", "images"),
    "new_width": _place("new_width", "images"),
    "concat_dim": _place("concat_dim", "concat"),
    "det_fg_threshold": _place("fg_threshold", "window_data"),
    "det_bg_threshold": _place("bg_threshold", "window_data"),
    "det_fg_fraction": _place("fg_fraction", "window_data"),
    "det_context_pad": _place("context_pad", "window_data"),
    "det_crop_mode": _place("crop_mode", "window_data"),
}


def upgrade_v0_layers(net: caffe_pb2.NetParameter) -> bool:
    """Turns the layers of a net of 2013 into those of 2014, in place; padding layers become the pad of their readers.

    A field that its type never had is dropped with a warning, as in Caffe.

    Returns:
        Whether there was anything to do.

    Raises:
        NetError: a layer of an unknown type, or a padding layer that is read by anything but one conv or pool.

    Source: Caffe, src/caffe/util/upgrade_proto.cpp (UpgradeV0Net, UpgradeV0PaddingLayers, UpgradeV0LayerParameter).
    """
    if not any(layer.HasField("layer") for layer in net.layers):
        return False
    layers = [_upgrade_layer(layer) for layer in _without_padding(net)]
    del net.layers[:]
    net.layers.extend(layers)
    return True


def _without_padding(net: caffe_pb2.NetParameter) -> list[caffe_pb2.V1LayerParameter]:
    """The layers but for those of type padding, whose pad and bottom go to the layers that read them."""
    makers: dict[str, caffe_pb2.V1LayerParameter | None] = dict.fromkeys(net.input)
    kept = []
    for original in net.layers:
        layer = caffe_pb2.V1LayerParameter()
        layer.CopyFrom(original)
        for index, blob in enumerate(original.bottom):
            maker = makers.get(blob)
            if maker is not None and maker.layer.type == _PADDING:
                _check_padding(maker, original)
                layer.layer.pad = maker.layer.pad
                layer.bottom[index] = maker.bottom[0]
        makers.update(dict.fromkeys(original.top, original))
        if original.layer.type != _PADDING:
            kept.append(layer)
    return kept


def _check_padding(padding: caffe_pb2.V1LayerParameter, reader: caffe_pb2.V1LayerParameter) -> None:
    if reader.layer.type not in {"conv", "pool"} or len(reader.bottom) != 1:
        raise NetError(
            f"layer '{reader.layer.name}' ({reader.layer.type}) reads the padding layer '{padding.layer.name}', which "
            "only a conv or pool layer with one bottom can",
            remedy="give the layers before and after it their own pad, and remove the padding layer",
            layer=reader.layer.name,
        )
    if (len(padding.bottom), len(padding.top)) != (1, 1):
        raise NetError(
            f"padding layer '{padding.layer.name}' has {len(padding.bottom)} bottoms and {len(padding.top)} tops, "
            "expected one of each",
            remedy="give each blob a padding layer of its own",
            layer=padding.layer.name,
        )


def _upgrade_layer(connection: caffe_pb2.V1LayerParameter) -> caffe_pb2.V1LayerParameter:
    result = caffe_pb2.V1LayerParameter()
    result.CopyFrom(connection)
    if not connection.HasField("layer"):
        return result
    result.ClearField("layer")
    old = connection.layer
    kind = _KINDS.get(old.type)
    if kind is None:
        raise NetError(
            f"layer '{old.name}' has the unknown type '{old.type}' of the format of 2013; known types: "
            f"{', '.join(sorted([*_KINDS, _PADDING]))}",
            remedy='write it in the present format: layer { type: "..." }',
            layer=old.name,
        )
    result.type = kind.v1_type
    for descriptor, value in old.ListFields():
        field = descriptor.name
        if field in _COMMON:
            _set(result, field, value)
        elif field in _TRANSFORM:
            _set(result.transform_param, _TRANSFORM[field], value)
        elif field == "hdf5_output_param" and old.type == "hdf5_output":
            result.hdf5_output_param.CopyFrom(old.hdf5_output_param)
        elif field in _PLACES and old.type in _PLACES[field].types:
            _set(getattr(result, kind.message), _PLACES[field].field, value)
        elif field != "type":
            logger.warning("layer '%s': %s has no meaning for the type '%s'; it is dropped", old.name, field, old.type)
    return result


def _set(message: object, field: str, value: object) -> None:
    """Sets a field that may be a message, repeated (the value is then its one element or all of them), or neither."""
    target = getattr(message, field)
    if hasattr(target, "CopyFrom"):
        target.CopyFrom(value)
    elif hasattr(target, "extend"):
        target.extend([value] if isinstance(value, int) else value)
    else:
        setattr(message, field, value)
