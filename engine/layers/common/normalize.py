"""Normalize: vectors of channels, or whole samples, to a learnt length."""

from __future__ import annotations

import math

import numpy as np

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.layers.common.bands import Array, Middle
from farlayer.engine.registry import register
from farlayer.protos import caffe_pb2


@register("Normalize")
class NormalizeLayer(Layer):
    """y = scale * x / norm, norm = sqrt(sum of x^2 + eps).

    The sum is over each sample with across_spatial, else over the channels at each pixel. The scale is one number with
    channel_shared, else one for each channel; scale_filler fills it, with ones where it is not given.

    bottom[0]: x, shape (N, C, ...).
    top[0]: y, the shape of x.
    params[0]: scale, shape () or (C,).
    Source: SSD's fork of Caffe (weiliu89/caffe), src/caffe/layers/normalize_layer.cpp. As there, the gradient of x is
    exact only where all channels have the same scale: it is the one for a scale of 1, times the channel's own scale.
    Differs from Caffe: a scale of 0 has a gradient; in the fork it is NaN.
    """

    exact_num_bottom = 1
    exact_num_top = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.norm_param
        self._eps = np.float32(param.eps)
        shape = () if param.channel_shared else self._shape(bottom)[1:2]
        ones = caffe_pb2.FillerParameter(type="constant", value=1)
        self.make_params([shape], [param.scale_filler if param.HasField("scale_filler") else ones])

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        num, channels, *spatial = self._shape(bottom)
        scale = self.params[0]
        if scale.shape not in {(), (channels,)}:
            raise self.error(
                f"bottom shape {bottom[0].shape} has {channels} channels, expected {scale.count}",
                remedy="axis 1 must stay as it is between calls, unless norm_param.channel_shared is true",
            )
        self._sample_shape = (channels, math.prod(spatial))
        # Of one sample: a norm for each place of the middle, over what is outside and inside of it.
        across_spatial = self.param.norm_param.across_spatial
        self._places = Middle(1, 1, math.prod(self._sample_shape)) if across_spatial else Middle(*self._sample_shape, 1)
        self._num = num
        top[0].reshape(bottom[0].shape)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        inverse, scale = self._inverse_norm(), self._scale()
        for sample in range(self._num):
            y = top[0].data[sample].reshape(self._sample_shape)
            for band in self._places.bands(self.workspace):
                x, at = band.of(bottom[0].data[sample]), band.places
                inverse[sample, at] = 1 / np.sqrt(band.dots(x, x) + self._eps)
                np.multiply(x, band.spread(inverse[sample, at]), out=band.of(y))
            np.multiply(y, scale, out=y)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        """With u = x / norm: dx = scale * (dy - u * sum of u * dy) / norm."""
        inverse, scale = self._inverse_norm(), self._scale()
        unit = self.workspace.array("unit", self._sample_shape)
        for sample in range(self._num):
            dy = top[0].diff[sample].reshape(self._sample_shape)
            for band in self._places.bands(self.workspace):
                x = band.of(bottom[0].data[sample])
                np.multiply(x, band.spread(inverse[sample, band.places]), out=band.of(unit))
            if self.param_propagate_down[0]:
                self._add_scale_gradient(unit, dy)
            if not propagate_down[0]:
                continue
            dx = bottom[0].diff[sample].reshape(self._sample_shape)
            for band in self._places.bands(self.workspace):
                u, g = band.of(unit), band.of(dy)
                np.multiply(u, band.spread(band.dots(u, g)), out=u)
                np.subtract(g, u, out=band.of(dx))
                np.multiply(band.of(dx), band.spread(inverse[sample, band.places]), out=band.of(dx))
            np.multiply(dx, scale, out=dx)

    def _add_scale_gradient(self, unit: Array, dy: Array) -> None:
        diff = self.params[0].diff
        products = np.einsum("cs,cs->c", unit, dy)
        diff[...] += products if diff.shape else products.sum()

    def _scale(self) -> Array:
        return self.params[0].data.reshape(-1, 1)

    def _inverse_norm(self) -> Array:
        return self.scratch.array("inverse norm", (self._num, self._places.dim))

    def _shape(self, bottom: Blobs) -> tuple[int, ...]:
        shape = bottom[0].shape
        if len(shape) < 2:
            raise self.error(f"bottom shape {shape} has no channels", remedy="give it the axes (N, C, ...)")
        return shape
