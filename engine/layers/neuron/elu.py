"""ELU: exponential linear unit."""

from __future__ import annotations

import numpy as np

from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.neuron.neuron_layer import NeuronLayer
from farlayer.engine.layers.neuron.rectifiers import rectified_slope
from farlayer.engine.layers.parts import parts
from farlayer.engine.registry import register


@register("ELU")
class ELULayer(NeuronLayer):
    """max(x, 0) + alpha * (exp(min(x, 0)) - 1), element by element.

    bottom[0]: x, any shape, float32.
    top[0]: y, the shape of x; may be bottom[0] itself (in place).
    Differs from Caffe: in place with an alpha below 0 the gradient is right, too.
    Source: Caffe, src/caffe/layers/elu_layer.cpp.
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        self._alpha = self.param.elu_param.alpha

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        if self._alpha < 0:
            self.keep_input(bottom, top)
        for x, y in parts(bottom[0].data, top[0].data):
            below = self.workspace.array("below", x.shape)
            np.clip(x, -np.inf, 0, out=below)
            np.exp(below, out=below)
            np.subtract(below, 1, out=below)
            np.multiply(below, self._alpha, out=below)
            np.clip(x, 0, np.inf, out=y)
            np.add(y, below, out=y)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if not propagate_down[0]:
            return
        # In place, bottom data is y by now; for an alpha of 0 or more it has the sign of x.
        sign = self.kept_input(bottom, top) if self._alpha < 0 else bottom[0].data
        for x, y, dy, dx in parts(sign, top[0].data, top[0].diff, bottom[0].diff):
            below = self.workspace.array("below", x.shape)
            np.add(y, self._alpha, out=below)  # alpha * exp(x) where x <= 0
            slope = self.workspace.array("slope", x.shape)
            rectified_slope(x, below, slope, self.workspace)
            np.multiply(dy, slope, out=dx)
