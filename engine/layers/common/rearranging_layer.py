"""What layers share that put every value to another place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Flags, Layer

Array = NDArray[np.float32]


class RearrangingLayer(Layer):
    """One bottom and one top of the same values in another order. A subclass gives reshape and `views`."""

    exact_num_bottom = 1
    exact_num_top = 1

    def views(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Views of the arrays of bottom and top, of one shape, in which equal indices are the same value."""
        raise NotImplementedError

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        x, y = self.views(bottom[0].data, top[0].data)
        y[...] = x

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if propagate_down[0]:
            dx, dy = self.views(bottom[0].diff, top[0].diff)
            dx[...] = dy
