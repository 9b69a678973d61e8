"""L2Normalize: every sample to length 1."""

from __future__ import annotations

import numpy as np

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.layers.common.bands import Array, Middle
from farlayer.engine.registry import register

_EPS = np.float32(1e-7)


@register("L2Normalize")
class L2NormalizeLayer(Layer):
    """y = x / sqrt(sum of x^2 + 1e-7), the sum over all axes but the first.

    bottom[0]: x, shape (N, ...).
    top[0]: y, the shape of x.
    Source: compact bilinear pooling's fork of Caffe (gy20073/compact_bilinear_pooling),
    src/caffe/layers/l2_normalize_layer.cpp; so too in forks for image retrieval and metric learning.
    Differs from Caffe: where the fork adds axes of size 1 up to four, the top keeps the shape of x.
    """

    exact_num_bottom = 1
    exact_num_top = 1

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        shape = bottom[0].shape
        if not shape:
            raise self.error("the bottom has no axes", remedy="give a bottom of shape (N, ...)")
        self._samples = Middle.of(shape, 0, 1)
        top[0].reshape(shape)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        inverse = self._inverse_norm()
        for band in self._samples.bands(self.workspace):
            x, y, at = band.of(bottom[0].data), band.of(top[0].data), band.places
            inverse[at] = 1 / np.sqrt(band.dots(x, x) + _EPS)
            np.multiply(x, band.spread(inverse[at]), out=y)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        """Computes dx = (dy - y * sum of y * dy) / norm."""
        if not propagate_down[0]:
            return
        inverse = self._inverse_norm()
        for band in self._samples.bands(self.workspace):
            y, dy, dx = band.of(top[0].data), band.of(top[0].diff), band.of(bottom[0].diff)
            np.multiply(y, band.spread(band.dots(y, dy)), out=dx)
            np.subtract(dy, dx, out=dx)
            np.multiply(dx, band.spread(inverse[band.places]), out=dx)

    def _inverse_norm(self) -> Array:
        return self.scratch.array("inverse norm", (self._samples.dim,))
