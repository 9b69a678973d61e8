"""Reduction: all axes from one on summed up."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.registry import register
from farlayer.protos import caffe_pb2

Array = NDArray[np.float32]
_ASUM = caffe_pb2.ReductionParameter.ASUM
_SUMSQ = caffe_pb2.ReductionParameter.SUMSQ
_MEAN = caffe_pb2.ReductionParameter.MEAN


@register("Reduction")
class ReductionLayer(Layer):
    """y = coeff * sum of x (SUM), |x| (ASUM) or x^2 (SUMSQ), or coeff * mean of x (MEAN), over reduction_param.axis on.

    bottom[0]: x, shape (outer axes..., reduced axes...).
    top[0]: y, shape (outer axes...).
    Differs from Caffe: the mean of no values is 0, not NaN.
    Source: Caffe, src/caffe/layers/reduction_layer.cpp.
    """

    exact_num_bottom = 1
    exact_num_top = 1

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.reduction_param
        shape = bottom[0].shape
        axis = self.canonical_axis(param.axis, bottom[0], "reduction_param.axis")
        top[0].reshape(shape[:axis])
        self._matrix = math.prod(shape[:axis]), math.prod(shape[axis:])
        self._coeff = param.coeff / max(self._matrix[1], 1) if param.operation == _MEAN else param.coeff

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        x = bottom[0].data.reshape(self._matrix)
        y = top[0].data.reshape(-1)
        np.sum(self._terms(x), axis=1, out=y)
        np.multiply(y, self._coeff, out=y)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if not propagate_down[0]:
            return
        x, dx = bottom[0].data.reshape(self._matrix), bottom[0].diff.reshape(self._matrix)
        weight = self.workspace.array("weight", (self._matrix[0], 1))
        np.multiply(top[0].diff.reshape(-1, 1), self._coeff, out=weight)
        operation = self.param.reduction_param.operation
        if operation == _ASUM:
            np.sign(x, out=dx)
            np.multiply(dx, weight, out=dx)
        elif operation == _SUMSQ:
            np.multiply(weight, 2, out=weight)
            np.multiply(x, weight, out=dx)
        else:
            dx[...] = weight

    def _terms(self, x: Array) -> Array:
        """What is summed."""
        operation = self.param.reduction_param.operation
        if operation == _ASUM:
            return np.abs(x, out=self.workspace.array("terms", x.shape))
        if operation == _SUMSQ:
            return np.multiply(x, x, out=self.workspace.array("terms", x.shape))
        return x
