"""LSTM: long short-term memory over a sequence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs
from farlayer.engine.layers.recurrent.lstm_cell import lstm_backward, lstm_forward
from farlayer.engine.layers.recurrent.recurrent_layer import RecurrentLayer
from farlayer.engine.registry import register

Array = NDArray[np.float32]


@register("LSTM")
class LSTMLayer(RecurrentLayer):
    """Long short-term memory: gates i, f, o, g as in RecurrentLayer, and a memory c.

    i, f, o = logistic of their gates, g = tanh of its gate; c_t = cont_t f c_{t-1} + i g; h_t = o tanh(c_t).

    bottoms: x, cont, optionally x_static, with expose_hidden the first h and c.
    top[0]: h, shape (T, N, D); with expose_hidden then the last h and c.
    params: W_xc (4 D, features), b_c (4 D,), with x_static W_xc_static (4 D, its features), W_hc (4 D, D).
    Source: Caffe, src/caffe/layers/lstm_layer.cpp.
    """

    state_names = ("h", "c")
    num_gates = 4

    def _begin(self, first: Blobs) -> None:
        self._memory(first[1].shape[1:])[0] = first[1].data[0]

    def _step(self, t: int, gates: Array, cont: Array, h: Array) -> None:
        c = self._memory(h.shape)
        lstm_forward(gates, cont, c[t], c[t + 1], h)

    def _end(self, last: Blobs) -> None:
        last[1].data[0] = self._memory(last[1].shape[1:])[-1]

    def _step_back(self, t: int, gates: Array, dh: Array, dgates: Array) -> None:
        c = self._memory(dh.shape)
        dc = self.scratch.array("gradient of c", dh.shape)
        if t == self._num_steps - 1:
            dc.fill(0)
        lstm_backward(gates, c[t], c[t + 1], dc, dh, dgates, dc, self.workspace)

    def _memory(self, shape: tuple[int, ...]) -> Array:
        """The memory before the first step and after each, shape (T + 1, N, D), kept from forward to backward."""
        return self.scratch.array("c", (self._num_steps + 1, *shape))
