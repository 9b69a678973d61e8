"""Class labels as layers read them: whole numbers in float blobs, one of them possibly to be ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from farlayer.engine.layer import Layer


def read_labels(
    layer: Layer, values: NDArray[np.float32], num_labels: int, ignore_label: int | None
) -> tuple[NDArray[np.intp], NDArray[np.bool_] | None]:
    """Turns a label blob into indices.

    Args:
        layer: who reads, for the error.
        values: the labels, any shape.
        num_labels: how many classes there are.
        ignore_label: the label that does not count; None where all do.

    Returns:
        The labels in the shape of `values`, ignored ones as 0, and which ones count (None: all of them).

    Raises:
        NetError: a label that counts is not in 0 .. num_labels - 1. Differs from Caffe, which reads beyond the scores.
    """
    labels = values.astype(np.intp)
    counts: NDArray[np.bool_] | None = None
    if ignore_label is not None:
        counts = labels != ignore_label
        labels *= counts
    if labels.size and (labels.min() < 0 or labels.max() >= num_labels):
        wrong = labels[(labels < 0) | (labels >= num_labels)].flat[0]
        raise layer.error(
            f"label {wrong} is out of range: the scores have {num_labels} classes, so labels go from 0 to "
            f"{num_labels - 1}",
            remedy="correct the labels, give the scores more classes, or set ignore_label",
        )
    return labels, counts
