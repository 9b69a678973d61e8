"""Predictions of boxes and scores, and the priors that they are relative to, as layers find them in their bottoms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from farlayer.engine.layers.detection.boxes import Array, BoxCode
from farlayer.protos import caffe_pb2

if TYPE_CHECKING:
    from farlayer.blobs.blob import Blob
    from farlayer.engine.layer import Blobs, Layer


@dataclass(frozen=True)
class Priors:
    """The boxes that predictions are relative to.

    Attributes:
        boxes: shape (P, 4), a view of the blob they came in.
        variances: what the codes are divided by, same shape.
    """

    boxes: Array
    variances: Array


def check_predictions(layer: Layer, bottom: Blobs, num_classes: int, num_loc_classes: int) -> int:
    """Compares the shapes of locations, scores and priors, the first three bottoms.

    Args:
        layer: whose they are, for errors.
        bottom: its bottoms.
        num_classes: how many scores a prior has.
        num_loc_classes: how many boxes a prior has.

    Returns:
        The number of priors.

    Raises:
        NetError: they do not fit together.
    """
    loc, conf, priors = bottom[:3]
    if loc.num != conf.num:
        raise layer.error(
            f"bottom shapes {loc.shape} and {conf.shape} differ in the number of samples (axis 0)",
            remedy="both bottoms must come from the same batch",
        )
    # More samples than one are allowed, and not looked at.
    if priors.num < 1 or priors.channels != 2 or priors.height % 4 or priors.width != 1:
        raise layer.error(
            f"the priors have shape {priors.shape}, expected (1, 2, 4 x number of priors): boxes, then variances",
            remedy="give it the top of PriorBox layers, concatenated along axis 2",
        )
    num_priors = int(priors.height) // 4
    for blob, what, values in ((loc, "location", 4 * num_loc_classes), (conf, "confidence", num_classes)):
        if blob.count != blob.num * num_priors * values:
            raise layer.error(
                f"{what} predictions have shape {blob.shape}, expected {num_priors} priors x {values} values a sample",
                remedy="correct num_classes, share_location or the layers that predict",
            )
    return num_priors


def read_priors(layer: Layer, blob: Blob, code: BoxCode) -> Priors:
    """Reads priors from a blob that `check_predictions` passed.

    Raises:
        NetError: a variance is not above 0, or a prior has no size where the code divides by it.
    """
    boxes, variances = blob.data[0].reshape(2, -1, 4)
    if variances.size and not variances.min() > 0:
        raise layer.error(
            f"a variance of the priors is {variances.min()}, expected more than 0",
            remedy="correct prior_box_param.variance",
        )
    if code.needs_size and boxes.size:
        smallest = (boxes[:, 2:] - boxes[:, :2]).min(axis=1)
        if not smallest.min() > 0:
            index = int(smallest.argmin())
            raise layer.error(
                f"prior {index} is {boxes[index].tolist()}: it has no width or no height, by which code_type "
                f"{caffe_pb2.PriorBoxParameter.CodeType.Name(code.code_type)} divides",
                remedy="use code_type: CORNER, or other priors; prior_box_param.clip leaves nothing of those outside",
            )
    return Priors(boxes, variances)
