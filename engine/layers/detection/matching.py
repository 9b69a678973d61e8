"""Ground truth boxes, and which prior stands for which of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from farlayer.engine.layers.detection.boxes import Array, Indices, crosses_border, overlaps
from farlayer.engine.scratch import Scratch

if TYPE_CHECKING:
    from farlayer.blobs.blob import Blob
    from farlayer.engine.layer import Layer

UNMATCHED = -1
IGNORED = -2
ROW_LENGTH = 8
"""Values of one row of ground truth: image, label, instance, xmin, ymin, xmax, ymax, difficult."""
_LEAST_OVERLAP = 1e-6  # what is less does not count as an overlap


@dataclass(frozen=True)
class GroundTruth:
    """The objects of a batch, one a row.

    Attributes:
        images: the image of each object, shape (G,).
        labels: its class.
        boxes: shape (G, 4).
    """

    images: Indices
    labels: Indices
    boxes: Array


def read_ground_truth(
    layer: Layer, blob: Blob, *, background: int, num_labels: int | None, use_difficult: bool
) -> GroundTruth:
    """Reads the objects of a blob of rows; rows of image -1 are fillers.

    Args:
        layer: who reads, for errors.
        blob: shape (1, 1, G, 8).
        background: the label that no object may have.
        num_labels: how many classes there are; None where any label will do.
        use_difficult: whether objects marked as difficult count.

    Raises:
        NetError: an object has the background's label, or one that is out of range.

    Source: weiliu89/caffe (branch ssd), src/caffe/util/bbox_util.cpp (GetGroundTruth).
    """
    rows = blob.data.reshape(-1, ROW_LENGTH)
    counts = rows[:, 0].astype(np.intp) != -1
    if not use_difficult:
        counts &= rows[:, 7] == 0
    rows = rows[counts]
    labels = rows[:, 1].astype(np.intp)
    wrong = labels[(labels == background) | (labels < 0) | (labels >= (num_labels or np.iinfo(np.intp).max))]
    if wrong.size:
        allowed = "0 and above" if num_labels is None else f"0 to {num_labels - 1}"
        raise layer.error(
            f"the ground truth has an object of label {wrong[0]}; allowed are {allowed}, without the background's "
            f"{background}",
            remedy="correct the labels, num_classes or background_label_id",
        )
    return GroundTruth(rows[:, 0].astype(np.intp), labels, rows[:, 3:7])


def match(
    boxes: Array,
    truths: Array,
    workspace: Scratch,
    *,
    per_prediction: bool,
    threshold: float,
    ignore_outside: bool,
) -> tuple[Indices, Array]:
    """Matches boxes with ground truth.

    First the pair with the largest overlap of all, then the next among the boxes and truths that are left, and so on.
    With per_prediction each box that is left then takes the truth that it overlaps most, if by the threshold or more.

    Args:
        boxes: shape (P, 4).
        truths: shape (G, 4).
        workspace: for the overlaps.
        per_prediction: whether a truth may have more boxes than one.
        threshold: for per_prediction.
        ignore_outside: whether boxes that cross the image's border have no part in it.

    Returns:
        For each box the index of its truth, UNMATCHED or IGNORED; and its overlap with that truth, or else its largest.

    Source: weiliu89/caffe (branch ssd), src/caffe/util/bbox_util.cpp (MatchBBox).
    """
    matched = np.full(len(boxes), UNMATCHED, np.intp)
    overlap = np.zeros(len(boxes), np.float32)
    if not len(boxes) or not len(truths):
        return matched, overlap
    table = overlaps(boxes, truths, workspace)
    np.copyto(table, 0, where=table <= _LEAST_OVERLAP)
    if ignore_outside:
        outside = crosses_border(boxes).any(axis=1)
        matched[outside] = IGNORED
        table[outside] = 0
    favourite = table.argmax(axis=1)
    np.max(table, axis=1, out=overlap)
    for _ in truths:
        box, truth = divmod(int(table.argmax()), len(truths))
        if not table[box, truth] > 0:
            break
        matched[box], overlap[box] = truth, table[box, truth]
        table[box, :] = 0
        table[:, truth] = 0
    if per_prediction:
        takes = (matched == UNMATCHED) & (overlap >= threshold) & (overlap > 0)
        matched[takes] = favourite[takes]
    return matched, overlap
