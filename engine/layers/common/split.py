"""Split: one blob for several readers."""

from __future__ import annotations

import numpy as np

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.registry import register


@register("Split")
class SplitLayer(Layer):
    """Gives the same data to every top, and sums their gradients. The net inserts it where a blob has many readers.

    bottom[0]: x, any shape.
    top[i]: x; its data is the memory of bottom[0]'s data, its diff is its own.
    Source: Caffe, src/caffe/layers/split_layer.cpp.
    """

    exact_num_bottom = 1
    min_num_top = 1
    shares_data = True

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        for blob in top:
            blob.reshape(bottom[0].shape)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        for blob in top:
            blob.share_data(bottom[0])

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if not propagate_down[0]:
            return
        diff = bottom[0].diff
        if len(top) == 1:
            diff[...] = top[0].diff
            return
        np.add(top[0].diff, top[1].diff, out=diff)
        for blob in top[2:]:
            np.add(diff, blob.diff, out=diff)
