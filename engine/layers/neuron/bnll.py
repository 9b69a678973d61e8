"""BNLL: binomial normal log likelihood, also known as softplus."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.neuron.neuron_layer import NeuronLayer
from farlayer.engine.layers.parts import parts
from farlayer.engine.registry import register
from farlayer.engine.scratch import Scratch

Array = NDArray[np.float32]

_LARGEST = 50  # exp(x) / (exp(x) + 1) is 1 from here on, and exp does not overflow


def softplus(x: Array, out: Array, workspace: Scratch) -> None:
    """Computes log(1 + exp(x)) as max(x, 0) + log(1 + exp(-|x|)), which cannot overflow; `out` may be `x`."""
    rest = workspace.array("softplus rest", x.shape)
    np.abs(x, out=rest)
    np.negative(rest, out=rest)
    np.exp(rest, out=rest)
    np.log1p(rest, out=rest)
    np.clip(x, 0, np.inf, out=out)
    np.add(out, rest, out=out)


@register("BNLL")
class BNLLLayer(NeuronLayer):
    """log(1 + exp(x)), element by element.

    bottom[0]: x, any shape, float32.
    top[0]: y, the shape of x; may be bottom[0] itself (in place).
    Differs from Caffe: in place the gradient is right, too; x is kept for it.
    Source: Caffe, src/caffe/layers/bnll_layer.cpp.
    """

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.keep_input(bottom, top)
        for x, y in parts(bottom[0].data, top[0].data):
            softplus(x, y, self.workspace)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if not propagate_down[0]:
            return
        for x, dy, dx in parts(self.kept_input(bottom, top), top[0].diff, bottom[0].diff):
            slope = self.workspace.array("slope", x.shape)
            below = self.workspace.array("below", x.shape)
            np.clip(x, -np.inf, _LARGEST, out=slope)
            np.exp(slope, out=slope)
            np.add(slope, 1, out=below)
            np.divide(slope, below, out=slope)
            np.multiply(dy, slope, out=dx)
