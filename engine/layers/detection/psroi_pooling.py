"""PSROIPooling: position-sensitive means of regions of any size, in a grid of fixed size."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.layers.detection.regions import Bins, check_shapes, clipped_spans, read_rois, round_half_away
from farlayer.engine.registry import register

Array = NDArray[np.float32]
_Place = tuple[int | slice, ...]


@register("PSROIPooling")
class PSROIPoolingLayer(Layer):
    """Divides each region of interest (ROI) into G x G bins, and takes the mean of each in channels of its own.

    y[roi, d, i, j] is the mean of channel (d G + i) G + j over bin (i, j), 0 for an empty bin; G = group_size.

    bottom[0]: x, shape (N, output_dim G G, H, W).
    bottom[1]: ROIs, shape (ROIs, 5): the image's number, x1, y1, x2, y2 in image coordinates. It has no gradient.
    top[0]: y, shape (ROIs, output_dim, G, G).
    A ROI reaches from its first corner to its second one plus 1, both rounded, then times spatial_scale; over 0.1 at
        least. Bin i over a length l from s on goes from floor(s + i l / G) to ceil(s + (i + 1) l / G), cut off at the
        borders of the feature map.
    Source: the fork of R-FCN, src/caffe/layers/psroi_pooling_layer.cpp, psroi_pooling_layer.cu.
    """

    exact_num_bottom = 2
    exact_num_top = 1

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index == 0

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.psroi_pooling_param
        self._output_dim, self._group = param.output_dim, param.group_size
        for field, value in (("output_dim", self._output_dim), ("group_size", self._group)):
            if value < 1:
                raise self.error(f"{field} is {value}", remedy=f"set psroi_pooling_param.{field} to 1 or more")

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        check_shapes(self, *bottom)
        expected = self._output_dim * self._group**2
        if bottom[0].shape[1] != expected:
            raise self.error(
                f"bottom[0] of shape {bottom[0].shape} has {bottom[0].shape[1]} channels, expected {expected}: "
                f"output_dim {self._output_dim} x group_size {self._group} squared",
                remedy="give so many channels",
            )
        top[0].reshape(bottom[1].shape[0], self._output_dim, self._group, self._group)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        x, y = self._grouped(bottom[0].data), top[0].data
        for bin_of_y, bin_of_x in self._bins(bottom):
            values = x[bin_of_x]
            y[bin_of_y] = values.sum(axis=(1, 2)) / _area(values)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if not propagate_down[0]:
            return
        bottom[0].diff.fill(0)
        dx, dy = self._grouped(bottom[0].diff), top[0].diff
        for bin_of_y, bin_of_x in self._bins(bottom):
            gradient = dx[bin_of_x]
            gradient += (dy[bin_of_y] / _area(gradient))[:, None, None]

    def _grouped(self, x: Array) -> Array:
        """A view with the channels as (output_dim, G, G)."""
        return x.reshape(len(x), self._output_dim, self._group, self._group, *x.shape[2:])

    def _bins(self, bottom: Blobs) -> Iterator[tuple[_Place, _Place]]:
        """For each bin of each ROI: its index in y, and its values in the grouped x, as (output_dim, rows, columns)."""
        images, (x1, y1, x2, y2) = read_rois(self, *bottom)
        height, width = bottom[0].shape[2:]
        rows, columns = self._spans(y1, y2, height), self._spans(x1, x2, width)
        for roi, image in enumerate(images):
            for i, (top_row, end_row) in enumerate(rows[roi]):
                for j, (left, right) in enumerate(columns[roi]):
                    everything = slice(None)
                    yield (
                        (roi, everything, i, j),
                        (image, everything, i, j, slice(top_row, end_row), slice(left, right)),
                    )

    def _spans(self, first: Array, last: Array, size: int) -> list[Bins]:
        """The bins of ROIs between two corners, cut off at the borders."""
        # In single precision as in the fork, whose rounding errors move borders.
        scale = np.float32(self.param.psroi_pooling_param.spatial_scale)
        start = round_half_away(first).astype(np.float32)[:, None] * scale
        end = (round_half_away(last) + 1).astype(np.float32)[:, None] * scale
        bin_length = np.maximum(end - start, np.float32(0.1)) / np.float32(self._group)
        numbers = np.arange(self._group + 1, dtype=np.float32)
        return clipped_spans(
            np.floor(numbers[:-1] * bin_length + start), np.ceil(numbers[1:] * bin_length + start), size
        )


def _area(values: Array) -> int:
    """How many places a bin, shape (output_dim, rows, columns), has; 1 where it is empty."""
    return max(math.prod(values.shape[1:]), 1)
