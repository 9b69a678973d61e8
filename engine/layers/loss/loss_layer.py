"""What losses share: a scalar top with a loss weight of 1 unless given, and a second bottom of labels."""

from __future__ import annotations

from typing import ClassVar

from farlayer.engine.layer import Blobs, Layer


class LossLayer(Layer):
    """Two bottoms with the same number of samples, one scalar top; the net supplies the top where it is not named.

    Source: Caffe, src/caffe/layers/loss_layer.cpp.
    """

    exact_num_bottom = 2
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
