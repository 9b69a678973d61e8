"""Clip: values held between two bounds."""

from __future__ import annotations

import numpy as np

from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.neuron.neuron_layer import NeuronLayer
from farlayer.engine.layers.parts import parts
from farlayer.engine.registry import register


@register("Clip")
class ClipLayer(NeuronLayer):
    """max(min, min(x, max)), element by element; the gradient passes where min <= x <= max.

    bottom[0]: x, any shape, float32.
    top[0]: y, the shape of x; may be bottom[0] itself (in place).
    Differs from Caffe: in place the gradient is right, too (Caffe's passes everywhere); x is kept for it. A NaN stays
        NaN, where Caffe's becomes min.
    Source: Caffe, src/caffe/layers/clip_layer.cpp.
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        if not self.param.HasField("clip_param"):
            raise self.error("the bounds are not given", remedy="set clip_param { min: ... max: ... }")
        self._min, self._max = self.param.clip_param.min, self.param.clip_param.max

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.keep_input(bottom, top)
        # As in Caffe, everything becomes min where it is above max.
        np.clip(bottom[0].data, self._min, max(self._min, self._max), out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if not propagate_down[0]:
            return
        for x, dy, dx in parts(self.kept_input(bottom, top), top[0].diff, bottom[0].diff):
            inside = self.workspace.array_of("inside", x.shape, np.bool_)
            above = self.workspace.array_of("above", x.shape, np.bool_)
            np.less_equal(x, self._max, out=inside)
            np.greater_equal(x, self._min, out=above)
            np.logical_and(inside, above, out=inside)
            np.multiply(dy, inside, out=dx)
