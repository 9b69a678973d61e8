"""InnerProduct by PyTorch."""

from __future__ import annotations

import torch

from farlayer.engine.kernels.torch_tensors import tensor
from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.common.inner_product import InnerProductLayer


class TorchInnerProductLayer(InnerProductLayer):
    """InnerProduct by PyTorch: what it computes for the params is added to their diffs without a copy.

    Were it left to NumPy, the threads of two libraries would compete for the cores.
    """

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        x = tensor(bottom[0].data, self._num_rows, self._num_input)
        y = tensor(top[0].data, self._num_rows, self._num_output)
        weights = tensor(self.params[0].data)
        factor = weights if self._transpose else weights.t()
        if self._bias_term:
            torch.addmm(tensor(self.params[1].data), x, factor, out=y)
        else:
            torch.mm(x, factor, out=y)

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
            torch.mm(dy, weights.t() if self._transpose else weights, out=dx)
