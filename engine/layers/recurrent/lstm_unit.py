"""LSTMUnit: one step of a long short-term memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.layers.no_gradient import refuse_gradient
from farlayer.engine.layers.recurrent.lstm_cell import lstm_backward, lstm_forward
from farlayer.engine.registry import register

Array = NDArray[np.float32]


@register("LSTMUnit")
class LSTMUnitLayer(Layer):
    """c = cont f c_before + i g; h = o tanh(c), where i, f, o = logistic of their gates, g = tanh of its gate.

    bottom[0]: c_before, shape (1, N, D). bottom[1]: the gates i, f, o, g side by side, shape (1, N, 4 D).
    bottom[2]: cont, shape (1, N): 0 where a sequence begins, 1 where it goes on; it has no gradient.
    top[0]: c, shape (1, N, D). top[1]: h, shape (1, N, D).
    Source: Caffe, src/caffe/layers/lstm_unit_layer.cpp.
    """

    exact_num_bottom = 3
    exact_num_top = 2

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index != 2

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        shape = bottom[0].shape
        if len(shape) != 3 or shape[0] != 1:
            raise self.error(
                f"bottom[0] has shape {shape}, expected (1, streams, num_output)", remedy="reshape the blob first"
            )
        for index, what, expected in ((1, "the gates", (*shape[:2], 4 * shape[2])), (2, "cont", shape[:2])):
            if bottom[index].shape != expected:
                raise self.error(
                    f"bottom[{index}] ({what}) has shape {bottom[index].shape}, expected {expected} for bottom[0] of "
                    f"shape {shape}",
                    remedy="give four gates, and one value of cont, for each stream",
                )
        for blob in top:
            blob.reshape(shape)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        gates = self._gates(bottom)
        gates[...] = _by_gate(bottom[1].data[0])
        lstm_forward(gates, bottom[2].data[0, :, None], bottom[0].data[0], top[0].data[0], top[1].data[0])

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        refuse_gradient(self, propagate_down, 2, "cont")
        if not any(propagate_down):
            return
        c_before, c, gates = bottom[0].data[0], top[0].data[0], self._gates(bottom)
        dc, dh = top[0].diff[0], top[1].diff[0]
        dgates = self.workspace.array("gradient of gates", gates.shape)
        dc_before = bottom[0].diff[0] if propagate_down[0] else self.workspace.array("unwanted", c.shape)
        lstm_backward(gates, c_before, c, dc, dh, dgates, dc_before, self.workspace)
        if propagate_down[1]:
            _by_gate(bottom[1].diff[0])[...] = dgates

    def _gates(self, bottom: Blobs) -> Array:
        """The gates, shape (4, N, D), kept from forward to backward."""
        return self.scratch.array("gates", (4, *bottom[0].shape[1:]))


def _by_gate(rows: Array) -> Array:
    """A view of (N, 4 D) as (4, N, D)."""
    return rows.reshape(rows.shape[0], 4, rows.shape[1] // 4).swapaxes(0, 1)
