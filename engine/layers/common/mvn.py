"""MVN: every image, or every channel of it, to mean 0 and deviation 1."""

from __future__ import annotations

import math

import numpy as np

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.layers.common.bands import Array, Middle
from farlayer.engine.layers.common.standardize import center, gradient, variance
from farlayer.engine.registry import register

_NUM_AXES = 4


@register("MVN")
class MVNLayer(Layer):
    """y = (x - mean) / (sqrt(variance) + eps) over each channel of each sample, or over each sample (across_channels).

    Without normalize_variance: y = x - mean.

    bottom[0]: x, at most 4 axes (N, C, H, W); axes that are missing count as 1.
    top[0]: y, 4 axes; may be bottom[0] itself (in place).
    Source: Caffe, src/caffe/layers/mvn_layer.cpp. As there, the gradient leaves eps out of account where it multiplies.
    Differs from Caffe: in place the gradient is right; Caffe reads top diffs that it has overwritten already.
    """

    exact_num_bottom = 1
    exact_num_top = 1
    allows_in_place = True

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        shape = bottom[0].shape
        if len(shape) > _NUM_AXES:
            raise self.error(
                f"bottom shape {shape} has {len(shape)} axes, expected at most {_NUM_AXES}",
                remedy="reshape the blob to (N, C, H, W) first",
            )
        shape = (*shape, 1, 1, 1, 1)[:_NUM_AXES]
        num_axes = 1 if self.param.mvn_param.across_channels else 2
        self._middle = Middle(1, math.prod(shape[:num_axes]), math.prod(shape[num_axes:]))
        top[0].reshape(shape)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.mvn_param
        inverse = self._inverse_deviation()
        for band in self._middle.bands(self.workspace):
            y = band.of(top[0].data)
            center(band, band.of(bottom[0].data), out=y)
            if param.normalize_variance:
                inverse[band.places] = 1 / (np.sqrt(variance(band, y)) + np.float32(param.eps))
                np.multiply(y, band.spread(inverse[band.places]), out=y)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if not propagate_down[0]:
            return
        inverse = self._inverse_deviation()
        for band in self._middle.bands(self.workspace):
            y, dy, dx = band.of(top[0].data), band.of(top[0].diff), band.of(bottom[0].diff)
            if self.param.mvn_param.normalize_variance:
                gradient(band, y, dy, inverse[band.places], out=dx)
            else:
                center(band, dy, out=dx)

    def _inverse_deviation(self) -> Array:
        return self.scratch.array("inverse deviation", (self._middle.dim,))
