"""Silence: takes blobs that nobody reads, so that they are not outputs of the net."""

from __future__ import annotations

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.registry import register


@register("Silence")
class SilenceLayer(Layer):
    """Computes nothing; the gradients are 0.

    bottom[i]: any shape. No tops.
    Source: Caffe, src/caffe/layers/silence_layer.cpp.
    """

    min_num_bottom = 1
    exact_num_top = 0

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Nothing: there are no tops."""

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Nothing."""

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        for blob, wanted in zip(bottom, propagate_down):
            if wanted:
                blob.diff.fill(0)
