"""Bias: adds a broadcast operand."""

from __future__ import annotations

import numpy as np

from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.common.operand_layer import OperandLayer
from farlayer.engine.registry import register


@register("Bias")
class BiasLayer(OperandLayer):
    """y = x + b, b broadcast along the axes of x that it does not meet.

    bottom[0]: x, any shape.
    bottom[1], or else params[0]: b, the shape of the axes of x from bias_param.axis on, num_axes of them for a param.
    top[0]: y, the shape of x; may be bottom[0] itself (in place).
    Source: Caffe, src/caffe/layers/bias_layer.cpp.
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.bias_param
        if len(bottom) == 1:
            self.make_params([self.met_shape(bottom[0], "bias_param", param)], [param.filler])

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        self._middle = self.meet(bottom[0], self.operand(bottom), "bias_param", self.param.bias_param.axis)
        top[0].reshape(bottom[0].shape)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        addend = self.operand(bottom).data.reshape(-1)
        for band in self._middle.bands(self.workspace):
            np.add(band.of(bottom[0].data), band.spread(addend[band.places]), out=band.of(top[0].data))

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        operand = self.operand(bottom)
        operand_learns = self.operand_learns(bottom, propagate_down)
        for band in self._middle.bands(self.workspace):
            dy = band.of(top[0].diff)
            if operand_learns:
                operand.diff.reshape(-1)[band.places] += band.sums(dy)
            if propagate_down[0] and bottom[0] is not top[0]:
                band.of(bottom[0].diff)[...] = dy
