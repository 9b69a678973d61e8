"""Softmax: scores to probabilities along one axis."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.registry import register
from farlayer.engine.scratch import Scratch

Array = NDArray[np.float32]


def as_outer_axis_inner(array: Array, axis: int) -> Array:
    """Views a C-contiguous array as (what is before the axis, the axis, what is after it)."""
    shape = array.shape
    return array.reshape(math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))


def softmax(x: Array, out: Array, scratch: Scratch) -> None:
    """Computes the softmax along axis 1 of (outer, axis, inner) arrays; `out` may be `x`."""
    line = scratch.array("softmax line", (x.shape[0], 1, x.shape[2]))
    if not x.size:
        return
    np.max(x, axis=1, keepdims=True, out=line)
    np.subtract(x, line, out=out)
    np.exp(out, out=out)
    np.sum(out, axis=1, keepdims=True, out=line)
    np.divide(out, line, out=out)


@register("Softmax")
class SoftmaxLayer(Layer):
    """y = exp(x) / sum of exp(x) along softmax_param.axis; the engine field makes no difference.

    bottom[0]: x, any shape with at least one axis.
    top[0]: y, the shape of x; may be bottom[0] itself (in place).
    Source: Caffe, src/caffe/layers/softmax_layer.cpp.
    """

    exact_num_bottom = 1
    exact_num_top = 1
    allows_in_place = True

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        self._axis = self.canonical_axis(self.param.softmax_param.axis, bottom[0], "softmax_param.axis")
        top[0].reshape(bottom[0].shape)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        softmax(
            as_outer_axis_inner(bottom[0].data, self._axis),
            as_outer_axis_inner(top[0].data, self._axis),
            self.workspace,
        )

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if not propagate_down[0]:
            return
        y = as_outer_axis_inner(top[0].data, self._axis)
        dy = as_outer_axis_inner(top[0].diff, self._axis)
        dx = as_outer_axis_inner(bottom[0].diff, self._axis)
        line = self.workspace.array("softmax line", (y.shape[0], 1, y.shape[2]))
        np.einsum("oai,oai->oi", dy, y, out=line[:, 0])
        np.subtract(dy, line, out=dx)
        np.multiply(dx, y, out=dx)
