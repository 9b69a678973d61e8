"""EuclideanLoss: half the mean squared distance."""

from __future__ import annotations

import math

import numpy as np

from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.loss.loss_layer import LossLayer, num_samples
from farlayer.engine.layers.parts import parts
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
        if math.prod(bottom[0].shape[1:]) != math.prod(bottom[1].shape[1:]):
            raise self.error(
                f"bottom shapes {bottom[0].shape} and {bottom[1].shape} hold different numbers of values",
                remedy="both bottoms need the same number of values a sample",
            )

    def allow_force_backward(self, bottom_index: int) -> bool:
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        total = 0.0
        for a, b in parts(bottom[0].data, bottom[1].data):
            difference = self.workspace.array("difference", a.shape)
            np.subtract(a, b, out=difference)
            total += float(np.dot(difference, difference))
        top[0].data[...] = total / num_samples(bottom) / 2

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        scale = top[0].diff.item() / num_samples(bottom)
        for index, sign in ((0, 1), (1, -1)):
            if propagate_down[index]:
                for a, b, dx in parts(bottom[0].data, bottom[1].data, bottom[index].diff):
                    np.subtract(a, b, out=dx)
                    np.multiply(dx, sign * scale, out=dx)
