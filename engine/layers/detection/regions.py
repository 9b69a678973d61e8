"""Regions of interest (ROIs), and the bins that they are divided into."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from farlayer.blobs.blob import Blob
    from farlayer.engine.layer import Layer

Array = NDArray[np.float32]
Bins = list[tuple[int, int]]
"""For each bin of a ROI along one axis: the first place of the feature map that it covers, and one behind the last."""


def check_shapes(layer: Layer, features: Blob, rois: Blob) -> None:
    """Checks the shapes of a feature map (N, C, H, W) and of ROIs: 5 values each, spread over any number of axes.

    Raises:
        NetError: they are others.
    """
    if len(features.shape) != 4:
        raise layer.error(
            f"bottom[0] has shape {features.shape}, expected 4 axes (N, C, H, W)", remedy="reshape the blob first"
        )
    if not rois.shape or math.prod(rois.shape[1:]) != 5:
        raise layer.error(
            f"bottom[1] has shape {rois.shape}, expected (ROIs, 5)",
            remedy="give five values for each ROI: its image's number, x1, y1, x2, y2",
        )


def read_rois(layer: Layer, features: Blob, rois: Blob) -> tuple[list[int], Array]:
    """Reads the image numbers of ROIs, and their corners x1, y1, x2, y2, shape (4, ROIs).

    Raises:
        NetError: an image is not one of the batch, or a corner is not finite.
    """
    values = rois.data.reshape(-1, 5)
    num_images = features.shape[0]
    for index, (image, *corners) in enumerate(values.tolist()):
        if not (0 <= image < num_images and all(map(math.isfinite, corners))):
            raise layer.error(
                f"ROI {index} is {[image, *corners]}, expected an image number from 0 to {num_images - 1} and finite "
                "corners x1, y1, x2, y2",
                remedy="number the images of the batch from 0",
            )
    return values[:, 0].astype(np.intp).tolist(), values[:, 1:].T


def round_half_away(values: Array) -> NDArray[np.float64]:
    """The nearest whole numbers, halves away from zero: the rounding of C, not that of NumPy."""
    exact = values.astype(np.float64)
    return np.trunc(exact + np.copysign(0.5, exact))


def clipped_spans(first: NDArray[np.floating], end: NDArray[np.floating], size: int) -> list[Bins]:
    """Cuts spans, shape (ROIs, bins), off at the borders of an axis."""
    first, end = (np.clip(edge, 0, size).astype(np.intp) for edge in (first, end))
    return [list(zip(*edges, strict=True)) for edges in zip(first.tolist(), end.tolist(), strict=True)]
