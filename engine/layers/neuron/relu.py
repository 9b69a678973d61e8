"""ReLU: rectified linear unit, plain or leaky."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.neuron.neuron_layer import NeuronLayer
from farlayer.engine.layers.neuron.rectifiers import rectified_slope, rectify
from farlayer.engine.layers.parts import parts
from farlayer.engine.registry import register


@register("ReLU")
class ReLULayer(NeuronLayer):
    """max(x, 0) + negative_slope * min(x, 0), element by element.

    bottom[0]: x, any shape, float32.
    top[0]: y, the shape of x; may be bottom[0] itself (in place).
    Differs from Caffe: in place with a negative_slope below 0 the gradient is right, too.
    Source: Caffe, src/caffe/layers/relu_layer.cpp.
    """

    limit: ClassVar[float] = np.inf
    """The largest value of y."""

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        self._slope = self.param.relu_param.negative_slope

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        if self._slope < 0:
            self.keep_input(bottom, top)
        for x, y in parts(bottom[0].data, top[0].data):
            rectify(x, self._slope, y, self.workspace, limit=self.limit)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if not propagate_down[0]:
            return
        # In place, bottom data is y by now; for a slope of 0 or more it tells the same of x.
        value = self.kept_input(bottom, top) if self._slope < 0 else bottom[0].data
        for x, dy, dx in parts(value, top[0].diff, bottom[0].diff):
            slope = self.workspace.array("slope", x.shape)
            rectified_slope(x, self._slope, slope, self.workspace, limit=self.limit)
            np.multiply(dy, slope, out=dx)
