"""What losses share: a scalar top with a loss weight of 1 unless given, and a second bottom of labels."""

from __future__ import annotations

import math
from typing import ClassVar

from farlayer.engine.layer import Blobs, Layer


class LossLayer(Layer):
    """Two bottoms with the same number of samples, one scalar top; the net supplies the top where it is not named.

    Source: Caffe, src/caffe/layers/loss_layer.cpp.
    """

    exact_num_bottom: ClassVar[int | None] = 2
    exact_num_top: ClassVar[int | None] = 1
    auto_top_blobs = True

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        if not self.param.loss_weight:
            # Kept in the param, as in Caffe, so that a saved net tells it. Only the first top is a loss.
            self.param.loss_weight.extend([1.0] + [0.0] * (len(top) - 1))

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        if bottom[0].shape[:1] != bottom[1].shape[:1]:
            raise self.error(
                f"bottom shapes {bottom[0].shape} and {bottom[1].shape} differ in the number of samples (axis 0)",
                remedy="both bottoms must come from the same batch",
            )
        top[0].reshape(())

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index != 1

    # Helpers for losses

    def check_same_shape(self, bottom: Blobs, index: int) -> None:
        """Compares the shape of a bottom with that of the first; axes of 1 at the end do not matter.

        Raises:
            NetError: they differ.
        """
        if _significant(bottom[index].shape) != _significant(bottom[0].shape):
            raise self.error(
                f"bottom {index} has shape {bottom[index].shape}, expected {bottom[0].shape} as bottom 0",
                remedy="give both bottoms the same shape",
            )

    def check_one_value(self, bottom: Blobs, index: int, what: str) -> None:
        """Compares the count of a bottom with the number of samples.

        Raises:
            NetError: it does not hold one value a sample.
        """
        shape, num_samples = bottom[index].shape, bottom[0].shape[:1]
        if shape[:1] != num_samples or math.prod(shape[1:]) != 1:
            raise self.error(
                f"{what} (bottom {index}) have shape {shape} for a bottom 0 of shape {bottom[0].shape}, "
                "expected one value a sample",
                remedy=f"give them shape {num_samples}",
            )


def num_samples(bottom: Blobs) -> int:
    """The size of the batch, but at least 1. Differs from Caffe: the loss of an empty batch is 0, not NaN."""
    return max(bottom[0].shape[0] if bottom[0].shape else 1, 1)


def _significant(shape: tuple[int, ...]) -> tuple[int, ...]:
    end = len(shape)
    while end > 1 and shape[end - 1] == 1:
        end -= 1
    return shape[:end]
