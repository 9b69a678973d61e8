"""AbsVal: absolute value."""

from __future__ import annotations

import numpy as np

from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.neuron.neuron_layer import NeuronLayer
from farlayer.engine.layers.parts import parts
from farlayer.engine.registry import register


@register("AbsVal")
class AbsValLayer(NeuronLayer):
    """|x|, element by element; its gradient at 0 is 0.

    bottom[0]: x, any shape, float32.
    top[0]: |x|, the shape of x; not bottom[0] itself.
    Source: Caffe, src/caffe/layers/absval_layer.cpp.
    """

    allows_in_place = False

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        np.abs(bottom[0].data, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if propagate_down[0]:
            for x, dy, dx in parts(bottom[0].data, top[0].diff, bottom[0].diff):
                np.sign(x, out=dx)
                np.multiply(dx, dy, out=dx)
