"""Embed: a learned vector for each index."""

from __future__ import annotations

import numpy as np

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.layers.common.rows import add_rows, read_indices, take_rows
from farlayer.engine.layers.no_gradient import refuse_gradient
from farlayer.engine.registry import register


@register("Embed")
class EmbedLayer(Layer):
    """y[i] = W[x[i]] + b; the gradient of a row of W is the sum over all places where its index comes.

    bottom[0]: x, indices in 0 .. input_dim - 1, any shape.
    top[0]: y, shape (axes of x..., num_output).
    params[0]: W, shape (input_dim, num_output). params[1]: b, shape (num_output,), unless bias_term is false.
    Differs from Caffe: an index out of range is an error, where a release build reads beyond W; force_backward leaves
        the indices out, where Caffe's stops the run: they have no gradient.
    Source: Caffe, src/caffe/layers/embed_layer.cpp.
    """

    exact_num_bottom = 1
    exact_num_top = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.embed_param
        for field, value in (("num_output", param.num_output), ("input_dim", param.input_dim)):
            if not value:
                raise self.error(f"{field} is 0", remedy=f"set embed_param.{field} to 1 or more")
        self._num_output = param.num_output
        self._input_dim = param.input_dim
        self._bias_term = param.bias_term
        expected = [(self._input_dim, self._num_output), *[(self._num_output,)] * self._bias_term]
        self.make_params(expected, [param.weight_filler, param.bias_filler][: len(expected)])

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        top[0].reshape(*bottom[0].shape, self._num_output)

    def allow_force_backward(self, bottom_index: int) -> bool:
        return False

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self._indices = read_indices(self, bottom[0], self._input_dim, "rows of weights (input_dim)")
        y = top[0].data.reshape(len(self._indices), self._num_output)
        take_rows(self.params[0].data, self._indices, y)
        if self._bias_term:
            np.add(y, self.params[1].data, out=y)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        refuse_gradient(self, propagate_down, 0, "indices")
        dy = top[0].diff.reshape(len(self._indices), self._num_output)
        if self.param_propagate_down[0]:
            add_rows(dy, self._indices, self.params[0].diff, self.workspace)
        if self._bias_term and self.param_propagate_down[1]:
            np.add(self.params[1].diff, dy.sum(axis=0), out=self.params[1].diff)
