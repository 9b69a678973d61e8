"""What a sum of losses is divided by: the modes of LossParameter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from farlayer.protos import caffe_pb2

if TYPE_CHECKING:
    from typing import TypeAlias

    Mode: TypeAlias = caffe_pb2.LossParameter.NormalizationMode.ValueType


def normalization_mode(param: caffe_pb2.LossParameter, default: Mode = caffe_pb2.LossParameter.VALID) -> Mode:
    """The mode that a definition asks for, by `normalization` or by the older `normalize`, which knew two of them.

    Source: Caffe, src/caffe/layers/softmax_loss_layer.cpp.
    """
    if param.HasField("normalization"):
        return param.normalization
    if param.HasField("normalize"):
        return caffe_pb2.LossParameter.VALID if param.normalize else caffe_pb2.LossParameter.BATCH_SIZE
    return default


def normalizer(mode: Mode, outer: int, inner: int, num_valid: int) -> float:
    """What to divide by in a mode; never less than 1, so that a batch without a loss gives 0.

    Args:
        mode: the mode.
        outer: how many items the batch has.
        inner: how many places with a loss an item has.
        num_valid: how many of all places count: those with a label that is not ignored, priors that match an object.

    Source: Caffe, src/caffe/layers/softmax_loss_layer.cpp (get_normalizer).
    """
    divisors = {
        caffe_pb2.LossParameter.FULL: outer * inner,
        caffe_pb2.LossParameter.VALID: num_valid,
        caffe_pb2.LossParameter.BATCH_SIZE: outer,
        caffe_pb2.LossParameter.NONE: 1,
    }
    return float(max(divisors[mode], 1))


def ignored_label(param: caffe_pb2.LossParameter | caffe_pb2.AccuracyParameter) -> int | None:
    """The label that does not count; None where all do."""
    return param.ignore_label if param.HasField("ignore_label") else None
