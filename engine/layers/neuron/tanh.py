"""TanH: hyperbolic tangent."""

from __future__ import annotations

import numpy as np

from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.neuron.neuron_layer import NeuronLayer
from farlayer.engine.layers.parts import parts
from farlayer.engine.registry import register


@register("TanH")
class TanHLayer(NeuronLayer):
    """Hyperbolic tangent, element by element.

    bottom[0]: x, any shape, float32.
    top[0]: tanh(x), the shape of x; may be bottom[0] itself (in place).
    Source: Caffe, src/caffe/layers/tanh_layer.cpp.
    """

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        np.tanh(bottom[0].data, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if not propagate_down[0]:
            return
        for y, dy, dx in parts(top[0].data, top[0].diff, bottom[0].diff):
            slope = self.workspace.array("slope", y.shape)
            np.multiply(y, y, out=slope)
            np.subtract(1, slope, out=slope)
            np.multiply(dy, slope, out=dx)
