"""Swish: x times its sigmoid."""

from __future__ import annotations

import numpy as np

from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.neuron.neuron_layer import NeuronLayer
from farlayer.engine.layers.neuron.sigmoid import sigmoid
from farlayer.engine.layers.parts import parts
from farlayer.engine.registry import register


@register("Swish")
class SwishLayer(NeuronLayer):
    """x * s with s = sigmoid(beta * x), element by element; dx = dy * (beta * y + s * (1 - beta * y)).

    bottom[0]: x, any shape, float32.
    top[0]: y, the shape of x; may be bottom[0] itself (in place).
    Source: Caffe, src/caffe/layers/swish_layer.cpp.
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        self._beta = self.param.swish_param.beta

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        for x, s, y in parts(bottom[0].data, self.scratch.array("sigmoid", bottom[0].shape), top[0].data):
            np.multiply(x, self._beta, out=s)
            sigmoid(s, s)
            np.multiply(x, s, out=y)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if not propagate_down[0]:
            return
        kept = self.scratch.array("sigmoid", bottom[0].shape)
        for s, y, dy, dx in parts(kept, top[0].data, top[0].diff, bottom[0].diff):
            scaled = self.workspace.array("scaled", y.shape)
            slope = self.workspace.array("slope", y.shape)
            np.multiply(y, self._beta, out=scaled)
            np.subtract(1, scaled, out=slope)
            np.multiply(slope, s, out=slope)
            np.add(slope, scaled, out=slope)
            np.multiply(dy, slope, out=dx)
