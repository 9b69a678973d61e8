"""BatchNorm by PyTorch."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from farlayer.engine.kernels.torch_tensors import tensor
from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.common.batch_norm import BatchNormLayer

_PART_VALUES = 1 << 21  # 8 MiB: aten takes as much anew for the gradient of the channels that it is given


class TorchBatchNormLayer(BatchNormLayer):
    """BatchNorm by PyTorch where that is faster: with stored statistics, and backward through those of the batch.

    Forward with the statistics of the batch is NumPy's: 7 ms instead of 8 for 10 x 64 images of 112 x 112.
    """

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        if not self._use_global_stats or self._is_left_to_numpy(bottom):
            super().forward(bottom, top)
            return
        mean, inverse = self._kept("mean"), self._kept("inverse deviation")
        self._read_statistics(mean, inverse)
        # Given as a variance without eps; what batch statistics would be saved in stays empty.
        variance = tensor(inverse).square().reciprocal_()
        x, y, none = tensor(bottom[0].data), tensor(top[0].data), torch.empty(0)
        torch.ops.aten.native_batch_norm.out(
            x, None, None, tensor(mean), variance, False, 0.0, 0.0, out=y, save_mean=none, save_invstd=none
        )

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if self._use_global_stats or not propagate_down[0] or self._is_left_to_numpy(bottom):
            super().backward(top, propagate_down, bottom)
            return
        mean, inverse = tensor(self._kept("mean")), tensor(self._kept("inverse deviation"))
        kept = self._keeps_result(bottom, top)
        # In place, x is overwritten, but y was kept: its mean is 0, its deviation 1.
        x = tensor(self._result(bottom) if kept else bottom[0].data)
        dy, dx = tensor(top[0].diff), tensor(bottom[0].diff)
        for part in self._channel_parts(x.shape):
            own_mean, own_inverse = mean[part], inverse[part]
            if kept:
                own_mean, own_inverse = torch.zeros_like(own_mean), torch.ones_like(own_inverse)
            gradient, _, _ = torch.ops.aten.native_batch_norm_backward(
                dy[:, part], x[:, part], None, None, None, own_mean, own_inverse, True, 0.0, [True, False, False]
            )
            if kept:
                gradient.mul_(inverse[part].reshape(-1, *(1,) * (x.dim() - 2)))
            dx[:, part].copy_(gradient)

    def _is_left_to_numpy(self, bottom: Blobs) -> bool:
        """Whether there is nothing to compute, or no axis of channels, which aten needs."""
        return not bottom[0].count or len(bottom[0].shape) < 2

    def _channel_parts(self, shape: torch.Size) -> Iterator[slice]:
        step = max(1, _PART_VALUES * shape[1] // shape.numel())
        return (slice(start, start + step) for start in range(0, shape[1], step))
