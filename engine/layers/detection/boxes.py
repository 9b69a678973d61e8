"""Boxes as corners (xmin, ymin, xmax, ymax) along the last axis: areas, overlaps, and codes relative to priors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.scratch import Scratch
from farlayer.protos import caffe_pb2

Array = NDArray[np.float32]
Indices = NDArray[np.intp]

_TINY = np.finfo(np.float32).tiny


def areas(boxes: Array, extent: int = 0) -> Array:
    """Gives the area of each box of shape (..., 4), 0 for one whose corners are swapped.

    Args:
        boxes: the boxes.
        extent: how far a side reaches beyond the difference of its coordinates: 1 where these number pixels.
    """
    width = boxes[..., 2] - boxes[..., 0]
    height = boxes[..., 3] - boxes[..., 1]
    swapped = (width < 0) | (height < 0)
    area: Array = (width + extent) * (height + extent)
    area[swapped] = 0
    return area


def overlaps(boxes: Array, others: Array, workspace: Scratch, extent: int = 0) -> Array:
    """Gives the Jaccard overlap (intersection / union) of all pairs of boxes (B, 4) and others (O, 4).

    Returns:
        Shape (B, O), in the workspace.
    """
    shape = (len(boxes), len(others))
    intersection = workspace.array("box intersection", shape)
    side = workspace.array("box side", shape)
    union = workspace.array("box union", shape)
    apart = workspace.array_of("box apart", shape, np.bool_)
    intersection.fill(1)
    for low, high in ((0, 2), (1, 3)):
        np.minimum(boxes[:, None, high], others[:, high], out=side)
        np.maximum(boxes[:, None, low], others[:, low], out=union)
        side -= union
        np.less(side, 0, out=apart)
        side += extent
        np.copyto(side, 0, where=apart)
        intersection *= side
    np.add(areas(boxes, extent)[:, None], areas(others, extent), out=union)
    union -= intersection
    np.maximum(union, _TINY, out=union)  # two empty boxes overlap by 0
    return np.divide(intersection, union, out=intersection)


def crosses_border(boxes: Array) -> NDArray[np.bool_]:
    """Tells which coordinates lie outside the image, which is the square from 0 to 1."""
    return (boxes < 0) | (boxes > 1)


@dataclass(frozen=True)
class BoxCode:
    """How a box b is told by four numbers relative to a prior p of width and height s, the code.

    CORNER: b - p. CORNER_SIZE: (b - p) / (s, s).
    CENTER_SIZE: (center of b - center of p) / s, log(size of b / s).
    The code is divided by the prior's variances, except where the net learns to give it undivided.

    Attributes:
        code_type: one of the three.
        variance_in_target: whether the code is left undivided.

    Source: weiliu89/caffe (branch ssd), src/caffe/util/bbox_util.cpp.
    """

    code_type: caffe_pb2.PriorBoxParameter.CodeType.ValueType
    variance_in_target: bool

    @property
    def needs_size(self) -> bool:
        """Whether a prior without width or height has no code."""
        return self.code_type != caffe_pb2.PriorBoxParameter.CORNER

    def encode(self, boxes: Array, priors: Array, variances: Array) -> Array:
        """Gives the codes of boxes (M, 4) relative to as many priors."""
        if self.code_type == caffe_pb2.PriorBoxParameter.CENTER_SIZE:
            sizes = _sizes(priors)
            codes = np.empty_like(boxes)
            codes[:, :2] = (_centers(boxes) - _centers(priors)) / sizes
            codes[:, 2:] = np.log(_sizes(boxes) / sizes)
        else:
            codes = boxes - priors
            if self.code_type == caffe_pb2.PriorBoxParameter.CORNER_SIZE:
                codes /= np.tile(_sizes(priors), 2)
        if not self.variance_in_target:
            codes /= variances
        return codes

    def decode(self, codes: Array, priors: Array, variances: Array, workspace: Scratch) -> Array:
        """Gives the boxes that codes mean.

        Args:
            codes: shape (..., 4).
            priors: of a shape that broadcasts to that of the codes, as `variances`.
            variances: the priors'.
            workspace: holds the result and what it takes.

        Returns:
            Boxes, the shape of the codes, in the workspace.
        """
        boxes = workspace.array("decoded boxes", codes.shape)
        if self.variance_in_target:
            np.copyto(boxes, codes)
        else:
            np.multiply(codes, variances, out=boxes)
        if self.code_type == caffe_pb2.PriorBoxParameter.CENTER_SIZE:
            _decode_center_size(boxes, priors, workspace)
            return boxes
        if self.code_type == caffe_pb2.PriorBoxParameter.CORNER_SIZE:
            sizes = _sizes(priors)
            boxes[..., :2] *= sizes
            boxes[..., 2:] *= sizes
        boxes += priors
        return boxes


def _decode_center_size(boxes: Array, priors: Array, workspace: Scratch) -> None:
    """Turns centers and logarithms of sizes into corners, in place."""
    first, second = boxes[..., :2], boxes[..., 2:]
    sizes = _sizes(priors)
    center = workspace.array("decoded centers", first.shape)
    np.multiply(first, sizes, out=center)
    center += _centers(priors)
    half = np.exp(second, out=second)
    half *= sizes / 2
    np.subtract(center, half, out=first)
    np.add(center, half, out=second)


def _sizes(boxes: Array) -> Array:
    return boxes[..., 2:] - boxes[..., :2]


def _centers(boxes: Array) -> Array:
    return (boxes[..., :2] + boxes[..., 2:]) * np.float32(0.5)
