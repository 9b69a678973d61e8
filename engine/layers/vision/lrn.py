"""LRN: local response normalisation, across channels or within each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.registry import register
from farlayer.protos import caffe_pb2

Array = NDArray[np.float32]
_Index = tuple[int | slice, ...]

_PART_VALUES = 1 << 18
"""Values that are normalised together (1 MiB): some ten passes go over them, and should find them in the cache."""


@register("LRN")
class LRNLayer(Layer):
    """Divides each value by a power of the sum of squares around it: y = x * s^-beta, s = k + alpha / count * sum(x^2).

    bottom[0]: x, shape (N, C, H, W).
    top[0]: y, of that shape.
    lrn_param, ACROSS_CHANNELS: the sum covers local_size channels, count = local_size.
        WITHIN_CHANNEL: it covers a square of local_size x local_size, count = local_size^2, and k counts as 1.
        Beyond the edges x is 0. local_size is odd.
    backward: dx = dy * s^-beta - 2 alpha beta / count * x * sum(dy * x * s^(-beta - 1)).
    Nothing is kept between forward and backward: s is computed again, which costs less than its memory.
    Source: Caffe, src/caffe/layers/lrn_layer.cpp.
    """

    exact_num_bottom = 1
    exact_num_top = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.lrn_param
        self._size = param.local_size
        if self._size % 2 == 0:
            raise self.error(f"local_size is {self._size}, expected an odd number", remedy="set it to 3, 5, ...")
        self._within = param.norm_region == caffe_pb2.LRNParameter.WITHIN_CHANNEL
        self._axes = (1, 2) if self._within else (0,)  # of a part, along which the sum runs
        self._constant = np.float32(1 if self._within else param.k)
        self._alpha = np.float32(param.alpha / self._size ** len(self._axes))
        self._beta = np.float32(param.beta)

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        shape = bottom[0].shape
        if len(shape) != 4:
            raise self.error(
                f"bottom shape {shape} has {len(shape)} axes, expected 4 (N, C, H, W)",
                remedy="reshape the blob to 4 axes first",
            )
        top[0].reshape(shape)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        x, y = self._by_part(bottom[0].data), self._by_part(top[0].data)
        for part in self._parts(x.shape):
            scale = self._scale(x[part])
            np.power(scale, -self._beta, out=scale)
            np.multiply(x[part], scale, out=y[part])

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if not propagate_down[0]:
            return
        arrays = (bottom[0].data, top[0].diff, bottom[0].diff)
        all_x, all_dy, all_dx = map(self._by_part, arrays)
        for part in self._parts(all_x.shape):
            x, dy, dx = all_x[part], all_dy[part], all_dx[part]
            scale = self._scale(x)
            factor = self.workspace.array("factor", scale.shape)
            np.power(scale, -self._beta, out=factor)
            np.multiply(dy, factor, out=factor)  # dy * s^-beta
            np.divide(x, scale, out=scale)
            total = self._sum_of_products(factor, scale)
            np.multiply(total, x, out=total)
            np.multiply(total, -2 * self._alpha * self._beta, out=total)
            np.add(factor, total, out=dx)

    def _scale(self, x: Array) -> Array:
        """s, good until it is asked for again."""
        scale = self.workspace.array("scale", x.shape)
        np.multiply(self._sum_of_products(x, x), self._alpha, out=scale)
        np.add(scale, self._constant, out=scale)
        return scale

    def _sum_of_products(self, a: Array, b: Array) -> Array:
        """Sums a * b around each place, good until it is asked for again."""
        total = self.workspace.array("total", a.shape)
        np.multiply(a, b, out=total)
        reach = self._size // 2
        for axis in self._axes:
            shape = list(total.shape)
            length = shape[axis]
            shape[axis] += 2 * reach
            padded = np.moveaxis(self.workspace.array(f"padded {axis}", tuple(shape)), axis, 0)
            padded[:reach].fill(0)
            padded[reach + length :].fill(0)
            summed = np.moveaxis(total, axis, 0)
            np.copyto(padded[reach : reach + length], summed)
            for offset in range(self._size):
                if offset != reach:
                    np.add(summed, padded[offset : offset + length], out=summed)
        return total

    def _by_part(self, array: Array) -> Array:
        """ACROSS_CHANNELS: (samples, channels, places). WITHIN_CHANNEL: (samples * channels, H, W)."""
        num, channels, height, width = array.shape
        if self._within:
            return array.reshape(num * channels, height, width)
        return array.reshape(num, channels, height * width)

    def _parts(self, shape: tuple[int, ...]) -> Iterator[_Index]:
        """Cuts that arrays of `_by_part` fall apart into without cutting a sum."""
        first, second, third = shape
        if self._within:
            step = max(1, _PART_VALUES // max(second * third, 1))
            yield from ((slice(start, start + step),) for start in range(0, first, step))
        else:
            step = max(1, _PART_VALUES // max(second, 1))
            for sample in range(first):
                yield from ((sample, slice(None), slice(start, start + step)) for start in range(0, third, step))
