"""Scale: multiplies by a broadcast operand, and adds a bias where asked to."""

from __future__ import annotations

import numpy as np

from farlayer.blobs.blob import Blob
from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.common.bands import Array
from farlayer.engine.layers.common.operand_layer import OperandLayer
from farlayer.engine.registry import register
from farlayer.protos import caffe_pb2


@register("Scale")
class ScaleLayer(OperandLayer):
    """y = x * s, or x * s + b with bias_term; s and b broadcast along the axes of x that they do not meet.

    bottom[0]: x, any shape.
    bottom[1], or else params[0]: s, the shape of the axes of x from scale_param.axis on, num_axes of them for a param,
        which is filled with ones unless there is a filler.
    params[-1], with bias_term: b, the shape of s.
    top[0]: y, the shape of x; may be bottom[0] itself (in place; x is then kept for backward).
    Source: Caffe, src/caffe/layers/scale_layer.cpp.
    Differs from Caffe: gradients of params always add up; Caffe overwrites that of s where s meets all axes, or all
    from the first on.
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.scale_param
        if len(bottom) > 1:
            shape, fillers = bottom[1].shape, []
        else:
            shape = self.met_shape(bottom[0], "scale_param", param)
            ones = caffe_pb2.FillerParameter(type="constant", value=1)
            fillers = [param.filler if param.HasField("filler") else ones]
        if param.bias_term:
            fillers.append(param.bias_filler)
        self.make_params([shape] * len(fillers), fillers)

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        axis = self.param.scale_param.axis
        self._middle = self.meet(bottom[0], self.operand(bottom), "scale_param", axis)
        if self._bias is not None:
            self.meet(bottom[0], self._bias, "scale_param", axis)
        top[0].reshape(bottom[0].shape)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        factor = self.operand(bottom).data.reshape(-1)
        addend = None if self._bias is None else self._bias.data.reshape(-1)
        in_place = bottom[0] is top[0]
        for band in self._middle.bands(self.workspace):
            x, y, at = band.of(bottom[0].data), band.of(top[0].data), band.places
            if in_place:
                band.of(self._kept(bottom))[...] = x
            np.multiply(x, band.spread(factor[at]), out=y)
            if addend is not None:
                np.add(y, band.spread(addend[at]), out=y)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        operand = self.operand(bottom)
        x = self._kept(bottom) if bottom[0] is top[0] else bottom[0].data
        operand_learns = self.operand_learns(bottom, propagate_down)
        bias = self._bias if self._bias is not None and self.param_propagate_down[-1] else None
        for band in self._middle.bands(self.workspace):
            dy, at = band.of(top[0].diff), band.places
            if bias is not None:
                bias.diff.reshape(-1)[at] += band.sums(dy)
            if operand_learns:
                operand.diff.reshape(-1)[at] += band.dots(dy, band.of(x))
            if propagate_down[0]:
                np.multiply(dy, band.spread(operand.data.reshape(-1)[at]), out=band.of(bottom[0].diff))

    @property
    def _bias(self) -> Blob | None:
        return self.params[-1] if self.param.scale_param.bias_term else None

    def _kept(self, bottom: Blobs) -> Array:
        return self.scratch.array("x", bottom[0].shape)
