"""Sigmoid: the logistic function."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.neuron.neuron_layer import NeuronLayer
from farlayer.engine.layers.parts import parts
from farlayer.engine.registry import register

Array = NDArray[np.float32]


def sigmoid(x: Array, out: Array) -> None:
    """Computes 1 / (1 + exp(-x)) as (tanh(x / 2) + 1) / 2, which cannot overflow; `out` may be `x`."""
    np.multiply(x, 0.5, out=out)
    np.tanh(out, out=out)
    np.multiply(out, 0.5, out=out)
    np.add(out, 0.5, out=out)


@register("Sigmoid")
class SigmoidLayer(NeuronLayer):
    """1 / (1 + exp(-x)), element by element.

    bottom[0]: x, any shape, float32.
    top[0]: y, the shape of x; may be bottom[0] itself (in place).
    Source: Caffe, src/caffe/layers/sigmoid_layer.cpp.
    """

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        for x, y in parts(bottom[0].data, top[0].data):
            sigmoid(x, y)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if not propagate_down[0]:
            return
        for y, dy, dx in parts(top[0].data, top[0].diff, bottom[0].diff):
            slope = self.workspace.array("slope", y.shape)
            np.subtract(1, y, out=slope)
            np.multiply(slope, y, out=slope)
            np.multiply(dy, slope, out=dx)
