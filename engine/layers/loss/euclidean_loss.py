"""EuclideanLoss: half the mean squared distance."""

from __future__ import annotations

import numpy as np

from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.loss.loss_layer import LossLayer
from farlayer.engine.registry import register


@register("EuclideanLoss")
class EuclideanLossLayer(LossLayer):
    """sum((a - b)^2) / (2 N), N the number of samples.

    bottom[0]: a, shape (N, ...). bottom[1]: b, as many values a sample; both may get a gradient.
    top[0]: the loss, 0-d.
    Differs from Caffe: the loss of an empty batch is 0, not NaN.
    Source: Caffe, src/caffe/layers/euclidean_loss_layer.cpp.
    """

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        super().reshape(bottom, top)
        if bottom[0].count != bottom[1].count:
            raise self.error(
                f"bottom shapes {bottom[0].shape} and {bottom[1].shape} hold different numbers of values",
                remedy="both bottoms need the same number of values a sample",
            )

    def allow_force_backward(self, bottom_index: int) -> bool:
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        difference = self.scratch.array("difference", (bottom[0].count,))
        np.subtract(bottom[0].data.reshape(-1), bottom[1].data.reshape(-1), out=difference)
        top[0].data[...] = np.dot(difference, difference) / _num_samples(bottom) / 2

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        # As forward left it.
        difference = self.scratch.array("difference", (bottom[0].count,))
        scale = np.float32(top[0].diff.item() / _num_samples(bottom))
        for index, sign in ((0, 1), (1, -1)):
            if propagate_down[index]:
                np.multiply(difference, sign * scale, out=bottom[index].diff.reshape(-1))


def _num_samples(bottom: Blobs) -> int:
    return max(bottom[0].shape[0] if bottom[0].shape else 1, 1)
