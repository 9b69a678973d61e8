"""ReLU: rectified linear unit, plain or leaky."""

from __future__ import annotations

import numpy as np

from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.neuron.neuron_layer import NeuronLayer
from farlayer.engine.registry import register


@register("ReLU")
class ReLULayer(NeuronLayer):
    """max(x, 0) + negative_slope * min(x, 0), element by element.

    bottom[0]: x, any shape, float32.
    top[0]: y, the shape of x; may be bottom[0] itself (in place).
    Source: Caffe, src/caffe/layers/relu_layer.cpp.
    """

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        x = bottom[0].data
        slope = self.param.relu_param.negative_slope
        if slope:
            below = self.scratch.array("below", x.shape)
            np.minimum(x, 0, out=below)
            np.multiply(below, np.float32(slope), out=below)
            np.maximum(x, 0, out=top[0].data)
            np.add(top[0].data, below, out=top[0].data)
        else:
            np.maximum(x, 0, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if not propagate_down[0]:
            return
        # In place, bottom data is y by now; for a slope of 0 or more it has the sign of x, as Caffe relies on.
        x = bottom[0].data
        positive = self.scratch.array_of("positive", x.shape, np.bool_)
        np.greater(x, 0, out=positive)
        slope = self.param.relu_param.negative_slope
        if slope:
            factor = self.scratch.array("factor", x.shape)
            factor.fill(slope)
            np.copyto(factor, 1, where=positive)
            np.multiply(top[0].diff, factor, out=bottom[0].diff)
        else:
            np.multiply(top[0].diff, positive, out=bottom[0].diff)
