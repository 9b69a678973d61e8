"""Tile: an axis repeated as a whole."""

from __future__ import annotations

import math

import numpy as np

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.registry import register


@register("Tile")
class TileLayer(Layer):
    """y is x repeated tile_param.tiles times along tile_param.axis; the gradients of the copies add up.

    bottom[0]: x, shape (outer axes..., size, inner axes...).
    top[0]: y, shape (outer axes..., tiles * size, inner axes...).
    Source: Caffe, src/caffe/layers/tile_layer.cpp.
    """

    exact_num_bottom = 1
    exact_num_top = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        self._tiles = self.param.tile_param.tiles
        if self._tiles < 1:
            raise self.error(
                f"tiles is {self._tiles}" if self.param.tile_param.HasField("tiles") else "tiles is not given",
                remedy="set tile_param.tiles to 1 or more",
            )

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        axis = self.canonical_axis(self.param.tile_param.axis, bottom[0], "tile_param.axis")
        shape = bottom[0].shape
        top[0].reshape(*shape[:axis], self._tiles * shape[axis], *shape[axis + 1 :])
        self._outer, self._inner = math.prod(shape[:axis]), math.prod(shape[axis:])

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        x = bottom[0].data.reshape(self._outer, 1, self._inner)
        top[0].data.reshape(self._outer, self._tiles, self._inner)[...] = x

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if propagate_down[0]:
            dy = top[0].diff.reshape(self._outer, self._tiles, self._inner)
            np.sum(dy, axis=1, out=bottom[0].diff.reshape(self._outer, self._inner))
