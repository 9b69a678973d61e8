"""Non-maximum suppression: of boxes that overlap, the one with the best score stays."""

from __future__ import annotations

import numpy as np

from farlayer.engine.layers.detection.boxes import Array, Indices, overlaps
from farlayer.engine.scratch import Scratch

_TABLE_VALUES = 1 << 18
"""Overlaps are worked out for as many boxes at once as keep their table under this many values (1 MiB)."""


def best_first(scores: Array, workspace: Scratch, top_k: int = -1) -> Indices:
    """Gives the order of falling scores, equal ones in the order they came in; no more than top_k, -1 for all."""
    num_scores = len(scores)
    if not -1 < top_k < num_scores:
        return np.argsort(-scores, kind="stable")
    # Only those are sorted that are not below the last to be taken.
    ranked = workspace.array("ranked scores", scores.shape)
    np.negative(scores, out=ranked)
    ranked.partition(top_k - 1)
    below = workspace.array_of("score below", scores.shape, np.bool_)
    np.less(scores, -ranked[top_k - 1], out=below)
    candidates = np.flatnonzero(np.logical_not(below, out=below))
    return candidates[np.argsort(-scores[candidates], kind="stable")[:top_k]]


def suppress(
    boxes: Array, threshold: float, workspace: Scratch, *, eta: float = 1.0, extent: int = 0, most: int | None = None
) -> Indices:
    """Keeps each box that overlaps none of those kept before by more than the threshold.

    Args:
        boxes: shape (K, 4), best first.
        threshold: an overlap that is still allowed.
        workspace: for the overlaps.
        eta: below 1, each box that is kept lowers the threshold by this factor while it is above 0.5.
        extent: as for `overlaps`.
        most: how many to keep at most.

    Returns:
        Indices of the boxes kept, rising.

    Source: weiliu89/caffe (branch ssd), src/caffe/util/bbox_util.cpp (ApplyNMSFast).
    """
    num_boxes = len(boxes)
    limit = num_boxes if most is None else most
    worst = workspace.array("nms overlap", (num_boxes,))  # with the boxes kept so far
    worst.fill(0)
    adaptive = np.float32(threshold)
    block_size = max(_TABLE_VALUES // max(num_boxes, 1), 16)
    kept: list[int] = []
    start = 0
    while len(kept) < limit:
        block = start + np.flatnonzero(worst[start:] <= adaptive)[:block_size]
        if not block.size:
            break
        table = overlaps(boxes[block], boxes[block[0] :], workspace, extent)
        rest = worst[block[0] :]
        for row, index in zip(table, block.tolist(), strict=True):
            if worst[index] <= adaptive and len(kept) < limit:
                kept.append(index)
                np.maximum(rest, row, out=rest)
                if eta < 1 and adaptive > 0.5:
                    adaptive *= np.float32(eta)
        start = int(block[-1]) + 1
    return np.array(kept, np.intp)
