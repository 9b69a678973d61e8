"""Bilinear resizing of 8-bit images, to the bit as OpenCV's cv::resize does it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ONE = np.float32(1 << 11)  # weights are whole numbers of 11 bits
_Integers = NDArray[np.int32]
_Indices = NDArray[np.intp]


def resize_bilinear(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resizes an image: centres of pixels lie at half numbers, edges are repeated, nothing is smoothed when it shrinks.

    With s = (d + 0.5) * size / new_size - 0.5, i = floor(s) and f = s - i, along each axis:
    new[d] = (1 - f) * old[i] + f * old[i + 1], in fixed point: first along the rows, then down the columns.

    Args:
        pixels: (height, width, channels).
        height, width: the new size.

    Source: OpenCV, modules/imgproc/src/resize.cpp (INTER_LINEAR for 8 bits).
    """
    left, right, left_weight, right_weight = _taps(pixels.shape[1], width)
    rows = pixels[:, left] * left_weight[:, np.newaxis]
    rows += pixels[:, right] * right_weight[:, np.newaxis]
    rows >>= 4
    above, below, above_weight, below_weight = _taps(pixels.shape[0], height)
    upper = rows[above] * above_weight[:, np.newaxis, np.newaxis]
    lower = rows[below] * below_weight[:, np.newaxis, np.newaxis]
    mixed = (upper >> 16) + (lower >> 16)
    return ((mixed + 2) >> 2).astype(np.uint8)


def _taps(size: int, new_size: int) -> tuple[_Indices, _Indices, _Integers, _Integers]:
    """For each new place along an axis the two old places that it mixes, and their weights."""
    places = ((np.arange(new_size) + 0.5) * (1.0 / (new_size / size)) - 0.5).astype(np.float32)
    first = np.floor(places)
    fraction = places - first
    low = np.clip(first.astype(np.intp), 0, size - 1)
    high = np.clip(first.astype(np.intp) + 1, 0, size - 1)
    weights = [np.rint(part * _ONE).astype(np.int32) for part in (np.float32(1) - fraction, fraction)]
    return low, high, weights[0], weights[1]
