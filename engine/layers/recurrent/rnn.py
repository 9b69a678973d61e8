"""RNN: a simple recurrent layer with an output layer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs
from farlayer.engine.layers.recurrent.recurrent_layer import ParamSpec, RecurrentLayer, as_rows
from farlayer.engine.registry import register

Array = NDArray[np.float32]


@register("RNN")
class RNNLayer(RecurrentLayer):
    """h_t = tanh(its gates as in RecurrentLayer); o_t = tanh(W_ho h_t + b_o).

    bottoms: x, cont, optionally x_static, with expose_hidden the first h.
    top[0]: o, shape (T, N, D); with expose_hidden then the last h.
    params: W_xh (D, features), b_h (D,), with x_static W_xh_static (D, its features), W_hh (D, D), W_ho (D, D),
        b_o (D,).
    Source: Caffe, src/caffe/layers/rnn_layer.cpp.
    """

    state_names = ("h",)
    num_gates = 1

    def _output_params(self, num_output: int) -> list[ParamSpec]:
        param = self.param.recurrent_param
        return [((num_output, num_output), param.weight_filler), ((num_output,), param.bias_filler)]

    def _hidden(self, gates: Array, top: Blobs) -> Array:
        return gates[:, 0]  # each step's tanh works in place

    def _step(self, t: int, gates: Array, cont: Array, h: Array) -> None:
        np.tanh(gates[0], out=h)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        super().forward(bottom, top)
        weights, bias = self.params[-2:]
        # Kept for backward, since a layer that works in place may write over the top.
        o = self.scratch.array("o", top[0].shape)
        np.matmul(as_rows(self._gates(bottom)[:, 0]), weights.data.T, out=as_rows(o))
        np.add(o, bias.data, out=o)
        np.tanh(o, out=o)
        top[0].data[...] = o

    def _step_back(self, t: int, gates: Array, dh: Array, dgates: Array) -> None:
        np.multiply(gates, gates, out=dgates)  # the gates are h by now
        np.subtract(1, dgates, out=dgates)
        np.multiply(dgates, dh, out=dgates)

    def _hidden_gradient(self, top: Blobs) -> Array:
        shape = top[0].shape
        o = self.scratch.array("o", shape)
        do = self.workspace.array("gradient of o", shape)
        np.multiply(o, o, out=do)
        np.subtract(1, do, out=do)
        np.multiply(do, top[0].diff, out=do)
        h = self.scratch.array("gates", shape)  # one gate, and that is h by now
        self._add_gradient(-2, as_rows(do), as_rows(h))
        self._add_sum(-1, as_rows(do))
        dh = self.workspace.array("gradient of h from o", shape)
        np.matmul(as_rows(do), self.params[-2].data, out=as_rows(dh))
        return dh
