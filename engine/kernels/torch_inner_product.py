"""InnerProduct by PyTorch."""

from __future__ import annotations

import torch

from farlayer.engine.kernels.torch_tensors import tensor
from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.common.inner_product import InnerProductLayer

_FEW_ROWS = 64
_BLOCKS = (16, 8, 4, 2)
"""A product of few rows with many weights is made in one of these numbers of blocks of columns, side by side: of 10
rows with 4096 x 9216 weights it takes 11 ms instead of 21."""


class TorchInnerProductLayer(InnerProductLayer):
    """InnerProduct by PyTorch: what it computes for the params is added to their diffs without a copy.

    Were it left to NumPy, the threads of two libraries would compete for the cores.
    """

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        x = tensor(bottom[0].data, self._num_rows, self._num_input)
        y = tensor(top[0].data, self._num_rows, self._num_output)
        weights = tensor(self.params[0].data)
        self._multiply(x, weights if self._transpose else weights.t(), y)
        if self._bias_term:
            y.add_(tensor(self.params[1].data))

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        x = tensor(bottom[0].data, self._num_rows, self._num_input)
        dy = tensor(top[0].diff, self._num_rows, self._num_output)
        if self.param_propagate_down[0]:
            left, right = (x, dy) if self._transpose else (dy, x)
            tensor(self.params[0].diff).addmm_(left.t(), right)
        if self._bias_term and self.param_propagate_down[1]:
            tensor(self.params[1].diff).add_(dy.sum(0))
        if propagate_down[0]:
            weights = tensor(self.params[0].data)
            dx = tensor(bottom[0].diff, self._num_rows, self._num_input)
            self._multiply(dy, weights.t() if self._transpose else weights, dx)

    def _multiply(self, left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> None:
        """Sets out to left times right."""
        rows, columns = out.shape
        blocks = next((count for count in _BLOCKS if columns % count == 0), 1)
        if rows > _FEW_ROWS or blocks == 1:
            torch.mm(left, right, out=out)
            return
        shape = (blocks, rows, columns // blocks)
        parts = tensor(self.workspace.array("blocks", shape))
        torch.bmm(left.expand(blocks, -1, -1), right.view(-1, blocks, columns // blocks).transpose(0, 1), out=parts)
        out.view(rows, blocks, columns // blocks).copy_(parts.transpose(0, 1))
