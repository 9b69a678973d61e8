"""Exp: a constant to the power of x."""

from __future__ import annotations

import numpy as np

from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.neuron.exponents import log_of_base
from farlayer.engine.layers.neuron.neuron_layer import NeuronLayer
from farlayer.engine.layers.parts import parts
from farlayer.engine.registry import register


@register("Exp")
class ExpLayer(NeuronLayer):
    """base ^ (shift + scale * x), element by element; base -1 stands for e.

    Worked out as exp(log(base) * (shift + scale * x)).

    bottom[0]: x, any shape, float32.
    top[0]: y, the shape of x; may be bottom[0] itself (in place).
    Source: Caffe, src/caffe/layers/exp_layer.cpp.
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.exp_param
        log_base = log_of_base(self, param.base, "exp_param.base")
        self._scale, self._shift = log_base * param.scale, log_base * param.shift

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        for x, y in parts(bottom[0].data, top[0].data):
            np.multiply(x, self._scale, out=y)
            np.add(y, self._shift, out=y)
            np.exp(y, out=y)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if propagate_down[0]:
            for y, dy, dx in parts(top[0].data, top[0].diff, bottom[0].diff):
                np.multiply(dy, y, out=dx)
                np.multiply(dx, self._scale, out=dx)
