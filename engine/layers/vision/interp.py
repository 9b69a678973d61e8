"""Interp: images of another size by bilinear interpolation."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.layers.parts import slices
from farlayer.engine.layers.vision.resampling import bilinear
from farlayer.engine.registry import register

Array = NDArray[np.float32]

_PART_VALUES = 1 << 18
_FORMS = "zoom_factor, shrink_factor, both of them, height and width, or a second bottom"


@register("Interp")
class InterpLayer(Layer):
    """Resizes images bilinearly, corners on corners: y[i] is x at i (size of x - 1) / (size of y - 1) along both axes.

    bottom[0]: x, shape (N, C, H, W); -pad_beg rows and columns at the beginning and -pad_end at the end are left out.
    bottom[1], optional: gives the size of y by its last two axes; it has no gradient.
    top[0]: y, shape (N, C, new H, new W), of one of these sizes: height and width; that of bottom[1]; with
        shrink_factor s (size - 1) / s + 1, rounded down; with zoom_factor z (size - 1) z + 1; with both first the one,
        then the other.
    Source: the forks of DeepLab and PSPNet, src/caffe/layers/interp_layer.cpp; the second bottom: SegStereo and LAB.
    """

    min_num_bottom = 1
    max_num_bottom = 2
    exact_num_top = 1

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index == 0

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.interp_param
        by_factor = param.HasField("zoom_factor") or param.HasField("shrink_factor")
        by_size = param.HasField("height"), param.HasField("width")
        if any(by_size) != all(by_size) or by_factor + all(by_size) + (len(bottom) - 1) != 1:
            raise self.error(
                f"the new size must be given in exactly one way: {_FORMS}", remedy="give one of them in full"
            )
        if param.pad_beg > 0 or param.pad_end > 0:
            raise self.error(
                f"pad_beg is {param.pad_beg} and pad_end {param.pad_end}, expected 0 or less",
                remedy="pad the image otherwise; this layer can crop only, which is what negative values mean",
            )
        if min(param.zoom_factor, param.shrink_factor) < 1:
            raise self.error(
                f"zoom_factor is {param.zoom_factor} and shrink_factor {param.shrink_factor}, expected 1 or more",
                remedy="set the factor to 1 or more",
            )

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.interp_param
        shape = bottom[0].shape
        if any(len(blob.shape) != 4 for blob in bottom):
            raise self.error(
                f"the bottoms have shapes {[blob.shape for blob in bottom]}, expected 4 axes (N, C, H, W) each",
                remedy="reshape the blobs to 4 axes first",
            )
        cropped = tuple(size + param.pad_beg + param.pad_end for size in shape[2:])
        new = self._new_size(cropped, bottom)
        if min(*cropped, *new) < 1:
            raise self.error(
                f"images of {shape[2:]} become {cropped} by pad_beg {param.pad_beg} and pad_end {param.pad_end}, then "
                f"{new}; expected 1 or more along each axis",
                remedy="give larger images, crop less, or ask for a larger size",
            )
        top[0].reshape(*shape[:2], *new)
        self._rows, self._columns = (
            bilinear(size_in, size_out, begin=-param.pad_beg, end=-param.pad_end)
            for size_in, size_out in zip(shape[2:], new, strict=True)
        )

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        for x, y in _parts(bottom[0].data, top[0].data):
            # Columns first, while there are few rows.
            between = self.workspace.array("rows", (*x.shape[:2], y.shape[2]))
            self._columns.apply(x, between, 2, self.workspace)
            self._rows.apply(between, y, 1, self.workspace)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if not propagate_down[0]:
            return
        for dx, dy in _parts(bottom[0].diff, top[0].diff):
            between = self.workspace.array("rows", (*dx.shape[:2], dy.shape[2]))
            self._rows.transposed.apply(dy, between, 1, self.workspace)
            self._columns.transposed.apply(between, dx, 2, self.workspace)

    def _new_size(self, size: tuple[int, ...], bottom: Blobs) -> tuple[int, ...]:
        param = self.param.interp_param
        if len(bottom) > 1:
            return bottom[1].shape[2:]
        if param.HasField("height"):
            return param.height, param.width
        shrunk = ((side - 1) // param.shrink_factor + 1 for side in size)
        return tuple((side - 1) * param.zoom_factor + 1 for side in shrunk)


def _parts(x: Array, y: Array) -> Iterator[tuple[Array, Array]]:
    """The images of both arrays, shapes (images, H, W), so many at a time that they stay in the cache."""
    num_images = math.prod(x.shape[:2])
    values_each = max(math.prod(x.shape[2:]), math.prod(y.shape[2:]))
    x, y = (array.reshape(num_images, *array.shape[2:]) for array in (x, y))
    for part in slices(num_images, values_each, _PART_VALUES):
        yield x[part], y[part]
