"""Power: a constant power of a linear function."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.neuron.neuron_layer import NeuronLayer
from farlayer.engine.layers.parts import parts
from farlayer.engine.registry import register

Array = NDArray[np.float32]


@register("Power")
class PowerLayer(NeuronLayer):
    """(shift + scale * x) ^ power, element by element; anything to the power of 0 is 1.

    bottom[0]: x, any shape, float32.
    top[0]: y, the shape of x; may be bottom[0] itself (in place).
    Differs from Caffe: in place the gradient is right, too (x is kept for it, unless power is 0 or 1), and where
        shift + scale * x is 0 it is that of the function, where Caffe's is NaN.
    Source: Caffe, src/caffe/layers/power_layer.cpp.
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.power_param
        self._power, self._scale, self._shift = param.power, param.scale, param.shift
        self._is_linear = self._power in (0, 1) or not self._scale  # its gradient is a constant

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        if not self._is_linear:
            self.keep_input(bottom, top)
        for x, y in parts(bottom[0].data, top[0].data):
            self._raise(x, self._power, y)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if not propagate_down[0]:
            return
        factor = self._power * self._scale
        if self._is_linear:
            np.multiply(top[0].diff, factor, out=bottom[0].diff)
            return
        for x, dy, dx in parts(self.kept_input(bottom, top), top[0].diff, bottom[0].diff):
            slope = self.workspace.array("slope", x.shape)
            self._raise(x, self._power - 1, slope)
            np.multiply(slope, factor, out=slope)
            np.multiply(dy, slope, out=dx)

    def _raise(self, x: Array, power: float, out: Array) -> None:
        if not power:
            out.fill(1)
            return
        if self._scale:
            np.multiply(x, self._scale, out=out)
            np.add(out, self._shift, out=out)
        else:
            out.fill(self._shift)
        if power == 2:
            np.multiply(out, out, out=out)
        elif power != 1:
            np.power(out, power, out=out)
