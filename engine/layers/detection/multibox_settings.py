"""What a MultiBoxLoss layer is told, checked once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from farlayer.engine.layers.detection.box_losses import (
    Targets,
    l2_gradient,
    l2_losses,
    logistic_losses,
    smooth_l1_gradient,
    smooth_l1_losses,
    softmax_losses,
)
from farlayer.engine.layers.detection.boxes import Array, BoxCode, Indices
from farlayer.engine.scratch import Scratch
from farlayer.protos import caffe_pb2

if TYPE_CHECKING:
    from farlayer.engine.layer import Layer

Param: TypeAlias = caffe_pb2.MultiBoxLossParameter
MiningType: TypeAlias = caffe_pb2.MultiBoxLossParameter.MiningType.ValueType


class LocationLoss(NamedTuple):
    """A loss of location errors (M, 4)."""

    losses: Callable[[Array], Array]
    gradient: Callable[[Array], Array]


ConfidenceLosses: TypeAlias = Callable[[Array, Targets, Array, Scratch], Array]

_LOCATION_LOSSES = {
    Param.L2: LocationLoss(l2_losses, l2_gradient),
    Param.SMOOTH_L1: LocationLoss(smooth_l1_losses, smooth_l1_gradient),
}
_CONFIDENCE_LOSSES: dict[caffe_pb2.MultiBoxLossParameter.ConfLossType.ValueType, ConfidenceLosses] = {
    Param.SOFTMAX: softmax_losses,
    Param.LOGISTIC: logistic_losses,
}


@dataclass(frozen=True)
class MultiBoxSettings:
    """The parameters of a MultiBoxLoss layer, as they hold together.

    Attributes:
        param: the fields as given.
        num_classes: with the background.
        num_loc_classes: how many boxes a prior has: 1, or one a class.
        background: the label of what is no object; below 0 where there is none.
        mining_type: which priors without an object count.
        nms_threshold: what mining lets overlap; 0 for no suppression.
        code: how a box is told relative to its prior.
        location: the loss of the location.
        confidence_losses: the loss of the confidence.
    """

    param: Param
    num_classes: int
    num_loc_classes: int
    background: int
    mining_type: MiningType
    nms_threshold: float
    code: BoxCode
    location: LocationLoss
    confidence_losses: ConfidenceLosses

    @property
    def mines(self) -> bool:
        """Whether only some of the priors without an object count."""
        return self.mining_type != Param.NONE

    @property
    def num_labels(self) -> int | None:
        """How many labels objects may have; None where all objects are of one class, whatever their label."""
        # A box for each class needs the label all the same.
        return None if self.param.map_object_to_agnostic and self.param.share_location else self.num_classes

    def loc_classes(self, labels: Indices) -> Indices:
        """Which of a prior's predicted boxes stands for an object of each label."""
        return np.zeros_like(labels) if self.param.share_location else labels

    def targets(self, num_rows: int, rows: Indices, labels: Indices, *, rest_is_background: bool) -> Targets:
        """Gives where scores should be 1: at the labels of some rows; elsewhere at the background or nowhere."""
        if self.param.map_object_to_agnostic:
            labels = np.full_like(labels, self.background + 1)
        if not (rest_is_background and 0 <= self.background < self.num_classes):
            return Targets(rows, labels)
        classes = np.full(num_rows, self.background, np.intp)
        classes[rows] = labels
        return Targets(np.arange(num_rows), classes)


def read_settings(layer: Layer) -> MultiBoxSettings:
    """Reads and checks a layer's multibox_loss_param.

    Raises:
        NetError: it does not hold together.
    """
    param = layer.param.multibox_loss_param
    if param.num_classes < 1:
        raise layer.error(
            f"multibox_loss_param.num_classes is {param.num_classes or 'not given'}",
            remedy="give the number of classes, the background among them",
        )
    background = _signed(param.background_label_id)
    _check_background(layer, background)
    mining_type = _mining_type(layer)
    if mining_type != Param.NONE:
        _check_mining(layer, mining_type)
    return MultiBoxSettings(
        param=param,
        num_classes=param.num_classes,
        num_loc_classes=1 if param.share_location else param.num_classes,
        background=background,
        mining_type=mining_type,
        nms_threshold=param.nms_param.nms_threshold if param.HasField("nms_param") else 0.0,
        code=BoxCode(param.code_type, param.encode_variance_in_target),
        location=_LOCATION_LOSSES[param.loc_loss_type],
        confidence_losses=_CONFIDENCE_LOSSES[param.conf_loss_type],
    )


def _signed(value: int) -> int:
    """The field is unsigned, but Caffe reads it into an int: 4294967295 is its way to say -1."""
    return value - (1 << 32) if value >= 1 << 31 else value


def _check_background(layer: Layer, background: int) -> None:
    param = layer.param.multibox_loss_param
    num_classes = param.num_classes
    if param.conf_loss_type == Param.SOFTMAX and not 0 <= background < num_classes:
        raise layer.error(
            f"background_label_id is {background} for {num_classes} classes",
            remedy=f"for conf_loss_type: SOFTMAX choose one from 0 to {num_classes - 1}",
        )
    if param.map_object_to_agnostic:
        expected = 2 if background >= 0 else 1
        if num_classes != expected or background > 0:
            raise layer.error(
                f"map_object_to_agnostic with {num_classes} classes and background_label_id {background}",
                remedy="use num_classes: 2 with background_label_id: 0, or num_classes: 1 without a background class",
            )


def _mining_type(layer: Layer) -> MiningType:
    param = layer.param.multibox_loss_param
    if not param.HasField("do_neg_mining"):
        return param.mining_type
    if not param.HasField("mining_type"):
        return Param.MAX_NEGATIVE if param.do_neg_mining else Param.NONE
    if param.do_neg_mining != (param.mining_type != Param.NONE):
        raise layer.error(
            f"do_neg_mining is {str(param.do_neg_mining).lower()}, but mining_type is "
            f"{Param.MiningType.Name(param.mining_type)}",
            remedy="remove do_neg_mining: it is an older spelling of mining_type",
        )
    return param.mining_type


def _check_mining(layer: Layer, mining_type: MiningType) -> None:
    param = layer.param.multibox_loss_param
    name = Param.MiningType.Name(mining_type)
    if not param.share_location:
        raise layer.error(
            f"mining_type is {name} and share_location is false",
            remedy="use mining_type: NONE, or share_location: true",
        )
    if mining_type == Param.HARD_EXAMPLE and param.sample_size < 1:
        raise layer.error(f"sample_size is {param.sample_size}", remedy="use 1 or more for mining_type: HARD_EXAMPLE")
    if param.HasField("nms_param") and param.nms_param.nms_threshold > 0 and param.nms_param.top_k == 0:
        raise layer.error(
            f"nms_param.top_k is {'0' if param.nms_param.HasField('top_k') else 'not given'}, so mining would choose "
            "nothing",
            remedy="set nms_param.top_k; -1 takes all boxes",
        )
