"""ReLU by PyTorch."""

from __future__ import annotations

import torch

from farlayer.engine.kernels.torch_tensors import tensor
from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.neuron.relu import ReLULayer


class TorchReLULayer(ReLULayer):
    """ReLU by PyTorch, forward and backward in one pass each; with a negative_slope below 0 by NumPy."""

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        slope = self.param.relu_param.negative_slope
        if slope == 0:
            torch.clamp_min(tensor(bottom[0].data), 0, out=tensor(top[0].data))
        elif slope > 0:
            torch.ops.aten.leaky_relu.out(tensor(bottom[0].data), slope, out=tensor(top[0].data))
        else:
            super().forward(bottom, top)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        slope = self.param.relu_param.negative_slope
        if slope < 0 or not propagate_down[0]:
            super().backward(top, propagate_down, bottom)
            return
        # In place, bottom data is y by now, which has the sign of x.
        x, dy, dx = tensor(bottom[0].data), tensor(top[0].diff), tensor(bottom[0].diff)
        torch.ops.aten.leaky_relu_backward.grad_input(dy, x, slope, False, grad_input=dx)
