"""Log: logarithm to a constant base."""

from __future__ import annotations

import numpy as np

from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.neuron.exponents import log_of_base
from farlayer.engine.layers.neuron.neuron_layer import NeuronLayer
from farlayer.engine.layers.parts import parts
from farlayer.engine.registry import register


@register("Log")
class LogLayer(NeuronLayer):
    """log(shift + scale * x) / log(base), element by element; base -1 stands for e.

    bottom[0]: x, any shape, float32.
    top[0]: y, the shape of x; may be bottom[0] itself (in place).
    Differs from Caffe: in place the gradient is right, too; x is kept for it.
    Source: Caffe, src/caffe/layers/log_layer.cpp.
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.log_param
        log_base = log_of_base(self, param.base, "log_param.base")
        if not log_base:
            raise self.error("log_param.base is 1, which has no logarithms", remedy="use -1 (the default) for e")
        self._scale, self._shift, self._outer_scale = param.scale, param.shift, 1 / log_base

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.keep_input(bottom, top)
        for x, y in parts(bottom[0].data, top[0].data):
            np.multiply(x, self._scale, out=y)
            np.add(y, self._shift, out=y)
            np.log(y, out=y)
            np.multiply(y, self._outer_scale, out=y)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if not propagate_down[0]:
            return
        for x, dy, dx in parts(self.kept_input(bottom, top), top[0].diff, bottom[0].diff):
            inner = self.workspace.array("inner", x.shape)
            np.multiply(x, self._scale, out=inner)
            np.add(inner, self._shift, out=inner)
            np.divide(dy, inner, out=dx)
            np.multiply(dx, self._scale * self._outer_scale, out=dx)
