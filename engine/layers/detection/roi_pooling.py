"""ROIPooling: the maxima of regions of any size, in a grid of fixed size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.layers.detection.regions import Bins, check_shapes, clipped_spans, read_rois, round_half_away
from farlayer.engine.registry import register

Array = NDArray[np.float32]

_LOWEST = np.finfo(np.float32).min


@register("ROIPooling")
class ROIPoolingLayer(Layer):
    """Divides each region of interest (ROI) into bins and takes the maximum of each; 0 for an empty bin.

    bottom[0]: x, shape (N, C, H, W).
    bottom[1]: ROIs, shape (ROIs, 5): the image's number, x1, y1, x2, y2 in image coordinates. It has no gradient.
    top[0]: y, shape (ROIs, C, pooled_h, pooled_w).
    Corners times spatial_scale are rounded, and both belong to the ROI, which has 1 row and 1 column at least. Bin i of
        p over a length l goes from floor(i l / p) to ceil((i + 1) l / p), cut off at the borders of the feature map.
    Of equal maxima the first, row by row, gets the gradient.

    Differs from Caffe (the fork): gradients reach every maximum, also where the corners are the wrong way round, and
        where a rounding error adds a row or column behind the ROI; the CPU code overlooks these when it goes back.
    Source: the fork of Fast R-CNN, src/caffe/layers/roi_pooling_layer.cpp.
    """

    exact_num_bottom = 2
    exact_num_top = 1

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index == 0

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.roi_pooling_param
        self._pooled = (param.pooled_h, param.pooled_w)
        if min(self._pooled) < 1:
            raise self.error(f"pooled_h, pooled_w are {self._pooled}", remedy="set both to 1 or more")

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        check_shapes(self, *bottom)
        top[0].reshape(bottom[1].shape[0], bottom[0].shape[1], *self._pooled)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        y = top[0].data
        for _, image, regions in self._images(bottom):
            for index, rows, columns in regions:
                _, maxima = self._maxima(image, rows, columns)
                y[index] = maxima.transpose(2, 0, 1)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if not propagate_down[0]:
            return
        dx, dy = bottom[0].diff, top[0].diff
        dx.fill(0)
        for number, image, regions in self._images(bottom):
            dimage = self.workspace.array("gradient of image", image.shape)
            dimage.fill(0)
            for index, rows, columns in regions:
                self._route(image, rows, columns, dy[index].transpose(1, 2, 0), dimage)
            dx[number] = dimage.transpose(2, 0, 1)

    # Channels come last here: the innermost runs are then long and contiguous, however small the bins are.

    def _images(self, bottom: Blobs) -> Iterator[tuple[int, Array, list[tuple[int, Bins, Bins]]]]:
        """For each image with ROIs: its number, the image as (H, W, C), and for each ROI its index and its bins."""
        images, corners = read_rois(self, *bottom)
        x1, y1, x2, y2 = round_half_away(corners * np.float32(self.param.roi_pooling_param.spatial_scale))
        height, width = bottom[0].shape[2:]
        rows, columns = _spans(y1, y2, self._pooled[0], height), _spans(x1, x2, self._pooled[1], width)
        x = bottom[0].data.transpose(0, 2, 3, 1)
        for number in sorted(set(images)):
            image = self.workspace.array("image", x.shape[1:])
            np.copyto(image, x[number])
            yield number, image, [(i, rows[i], columns[i]) for i, at in enumerate(images) if at == number]

    def _maxima(self, image: Array, rows: Bins, columns: Bins) -> tuple[Array, Array]:
        """The maxima of one ROI's bins: first of each row over a bin's columns, then of those over the bin's rows.

        Returns:
            The former, shape (H, pooled_w, C), valid in the ROI's rows, and the latter, (pooled_h, pooled_w, C).
        """
        height, _, channels = image.shape
        along = self.workspace.array("maxima along rows", (height, len(columns), channels))
        maxima = self.workspace.array("maxima", (len(rows), len(columns), channels))
        inside = slice(rows[0][0], rows[-1][1])
        for at, (first, end) in enumerate(columns):
            np.fmax.reduce(image[inside, first:end], axis=1, out=along[inside, at], initial=_LOWEST)
        for at, (first, end) in enumerate(rows):
            np.fmax.reduce(along[first:end], axis=0, out=maxima[at], initial=_LOWEST)
            if first >= end:
                maxima[at] = 0
        for at, (first, end) in enumerate(columns):
            if first >= end:
                maxima[:, at] = 0
        return along, maxima

    def _route(self, image: Array, rows: Bins, columns: Bins, dy: Array, dimage: Array) -> None:
        """Adds the gradient of one ROI's bins, shape (pooled_h, pooled_w, C), to that of the image."""
        along, maxima = self._maxima(image, rows, columns)
        dalong = self.workspace.array("gradient along rows", along.shape)
        inside = slice(rows[0][0], rows[-1][1])
        dalong[inside] = 0
        for at, (first, end) in enumerate(rows):
            self._to_first_hit(dy[at], maxima[at], along[first:end], dalong[first:end])
        for at, (first, end) in enumerate(columns):
            self._to_first_hit(
                dalong[inside, at],
                along[inside, at],
                image[inside, first:end].swapaxes(0, 1),
                dimage[inside, first:end].swapaxes(0, 1),
            )

    def _to_first_hit(self, dy: Array, y: Array, x: Array, dx: Array) -> None:
        """Adds the gradient of y = the maximum along axis 0 of x to that of the first value of x that it equals."""
        left = self.workspace.array("gradient left", dy.shape)
        share = self.workspace.array("share", dy.shape)
        hit = self.workspace.array_of("hit", dy.shape, np.bool_)
        np.copyto(left, dy)
        for value, gradient in zip(x, dx, strict=True):
            np.equal(value, y, out=hit)
            np.multiply(left, hit, out=share)
            np.add(gradient, share, out=gradient)
            np.subtract(left, share, out=left)


def _spans(first: NDArray[np.float64], last: NDArray[np.float64], num_bins: int, size: int) -> list[Bins]:
    """The bins of ROIs from `first` to `last`, cut off at the borders."""
    # In single precision as in the fork: where a length divides evenly, its rounding errors move the borders.
    length = np.maximum(last - first + 1, 1).astype(np.float32)[:, None]
    bin_length = length / np.float32(num_bins)
    numbers = np.arange(num_bins + 1, dtype=np.float32)
    low, high = np.floor(numbers[:-1] * bin_length), np.ceil(numbers[1:] * bin_length)
    return clipped_spans(low + first[:, None], high + first[:, None], size)
