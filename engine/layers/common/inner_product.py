"""InnerProduct: a fully connected layer."""

from __future__ import annotations

import math

import numpy as np

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.layers.common.products import add_product
from farlayer.engine.registry import register


@register("InnerProduct")
class InnerProductLayer(Layer):
    """y = x W^T + b, all axes of x from inner_product_param.axis on taken as one.

    bottom[0]: x, shape (outer axes..., K axes...).
    top[0]: y, shape (outer axes..., num_output).
    params[0]: W, shape (num_output, K), or (K, num_output) with transpose.
    params[1]: b, shape (num_output,), unless bias_term is false.
    Source: Caffe, src/caffe/layers/inner_product_layer.cpp.
    """

    exact_num_bottom = 1
    exact_num_top = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.inner_product_param
        self._num_output = param.num_output
        self._transpose = param.transpose
        self._bias_term = param.bias_term
        if self._num_output < 1:
            raise self.error("num_output is 0", remedy="set inner_product_param.num_output to 1 or more")
        axis = self.canonical_axis(param.axis, bottom[0], "inner_product_param.axis")
        self._num_input = math.prod(bottom[0].shape[axis:])
        weight_shape = (self._num_output, self._num_input)
        if self._transpose:
            weight_shape = weight_shape[::-1]
        expected = [weight_shape] + [(self._num_output,)] * self._bias_term
        self.make_params(expected, [param.weight_filler, param.bias_filler][: len(expected)])

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.inner_product_param
        axis = self.canonical_axis(param.axis, bottom[0], "inner_product_param.axis")
        num_input = math.prod(bottom[0].shape[axis:])
        if num_input != self._num_input:
            raise self.error(
                f"bottom shape {bottom[0].shape} gives {num_input} inputs from axis {axis} on, "
                f"expected {self._num_input} as at setup",
                remedy="only axes before inner_product_param.axis may change between calls",
            )
        self._num_rows = math.prod(bottom[0].shape[:axis])
        top[0].reshape(*bottom[0].shape[:axis], self._num_output)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        x = bottom[0].data.reshape(self._num_rows, self._num_input)
        y = top[0].data.reshape(self._num_rows, self._num_output)
        weights = self.params[0].data
        np.matmul(x, weights if self._transpose else weights.T, out=y)
        if self._bias_term:
            np.add(y, self.params[1].data, out=y)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        x = bottom[0].data.reshape(self._num_rows, self._num_input)
        dy = top[0].diff.reshape(self._num_rows, self._num_output)
        if self.param_propagate_down[0]:
            left, right = (x, dy) if self._transpose else (dy, x)
            add_product(left, right, self.params[0].diff, self.workspace)
        if self._bias_term and self.param_propagate_down[1]:
            np.add(self.params[1].diff, dy.sum(axis=0), out=self.params[1].diff)
        if propagate_down[0]:
            dx = bottom[0].diff.reshape(self._num_rows, self._num_input)
            weights = self.params[0].data
            np.matmul(dy, weights.T if self._transpose else weights, out=dx)
