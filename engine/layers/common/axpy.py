"""Axpy: a x + y, with one a for each channel of each sample."""

from __future__ import annotations

import numpy as np

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.layers.common.bands import Middle
from farlayer.engine.registry import register


@register("Axpy")
class AxpyLayer(Layer):
    """z = a * x + y, a broadcast along the axes of x from axis 2 on.

    bottom[0]: a, shape (N, C), or (N, C, 1, 1). bottom[1]: x, shape (N, C, ...). bottom[2]: y, the shape of x.
    top[0]: z, the shape of x.
    Source: SENet's fork of Caffe (hujie-frank/SENet), src/caffe/layers/axpy_layer.cpp.
    """

    exact_num_bottom = 3
    exact_num_top = 1

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        shape = bottom[1].shape
        if len(shape) < 2:
            raise self.error(f"x (bottom[1]) has shape {shape}", remedy="give it the axes (N, C, ...)")
        if bottom[2].shape != shape:
            raise self.error(
                f"x (bottom[1]) has shape {shape}, y (bottom[2]) has {bottom[2].shape}",
                remedy="give both the same shape",
            )
        factor = bottom[0].shape
        if factor[:2] != shape[:2] or any(size != 1 for size in factor[2:]):
            raise self.error(
                f"a (bottom[0]) has shape {factor} for x of shape {shape}",
                remedy=f"give it the shape {shape[:2]} or {(*shape[:2], 1, 1)}",
            )
        self._middle = Middle.of(shape, 0, 2)
        top[0].reshape(shape)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        factor = bottom[0].data.reshape(-1)
        for band in self._middle.bands(self.workspace):
            x, y, z = (band.of(blob.data) for blob in (bottom[1], bottom[2], top[0]))
            np.multiply(x, band.spread(factor[band.places]), out=z)
            np.add(z, y, out=z)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        factor = bottom[0].data.reshape(-1)
        for band in self._middle.bands(self.workspace):
            dz, at = band.of(top[0].diff), band.places
            if propagate_down[0]:
                bottom[0].diff.reshape(-1)[at] = band.dots(dz, band.of(bottom[1].data))
            if propagate_down[1]:
                np.multiply(dz, band.spread(factor[at]), out=band.of(bottom[1].diff))
            if propagate_down[2]:
                band.of(bottom[2].diff)[...] = dz
