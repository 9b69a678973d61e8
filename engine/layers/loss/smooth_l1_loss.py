"""SmoothL1Loss: quadratic near 0, linear beyond; for the boxes of Fast R-CNN."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.loss.loss_layer import LossLayer, num_samples
from farlayer.engine.layers.parts import parts
from farlayer.engine.registry import register

Array = NDArray[np.float32]


@register("SmoothL1Loss")
class SmoothL1LossLayer(LossLayer):
    """The sum of w_out * f(w_in * (a - b)), divided by N.

    f(d) = (sigma d)^2 / 2 where |d| < 1 / sigma^2, |d| - 1 / (2 sigma^2) elsewhere; f'(d) = sigma^2 d held in -1 .. 1.

    bottom[0]: a, shape (N, ...). bottom[1]: b, the shape of a; both may get a gradient.
    bottom[2], bottom[3], where given: w_in and w_out, the shape of a; constants, so that their gradients are 0.
    top[0]: the loss, 0-d.
    Not in Caffe: the layer of py-faster-rcnn, which runs on GPUs only.
    Differs from Caffe (Fast R-CNN's and SSD's, with w_in alone): the gradient has the factor w_in, so it is right for
        other weights than 0 and 1, too.
    Source: rbgirshick/caffe-fast-rcnn, src/caffe/layers/smooth_L1_loss_layer.cpp, .cu.
    """

    exact_num_bottom = None
    min_num_bottom = 2
    max_num_bottom = 4

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        super().setup(bottom, top)
        sigma = self.param.smooth_l1_loss_param.sigma
        if not sigma:
            raise self.error(
                "sigma is 0", remedy="set smooth_l1_loss_param.sigma to more than 0, or leave it out for 1"
            )
        self._sigma2 = sigma * sigma

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        super().reshape(bottom, top)
        for index in range(1, len(bottom)):
            self.check_same_shape(bottom, index)

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index < 2

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        total = 0.0
        for a, b, *weights in parts(*(blob.data for blob in bottom)):
            size = self.workspace.array("size", a.shape)
            loss = self.workspace.array("loss", a.shape)
            _weigh_difference(a, b, weights[:1], size)
            np.abs(size, out=size)
            # f(d) = sigma^2 m (|d| - m / 2) with m = min(|d|, 1 / sigma^2): one formula for both cases.
            np.minimum(size, 1 / self._sigma2, out=loss)
            half = self.workspace.array("half", a.shape)
            np.multiply(loss, 0.5, out=half)
            np.subtract(size, half, out=size)
            np.multiply(loss, self._sigma2, out=loss)
            np.multiply(loss, size, out=loss)
            for outside in weights[1:]:
                np.multiply(loss, outside, out=loss)
            total += float(loss.sum())
        top[0].data[...] = total / num_samples(bottom)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        scale = top[0].diff.item() / num_samples(bottom)
        for index, sign in ((0, 1), (1, -1)):
            if propagate_down[index]:
                for dx, a, b, *weights in parts(bottom[index].diff, *(blob.data for blob in bottom)):
                    _weigh_difference(a, b, weights[:1], dx)
                    np.multiply(dx, self._sigma2, out=dx)
                    np.clip(dx, -1, 1, out=dx)
                    for weight in weights:
                        np.multiply(dx, weight, out=dx)
                    np.multiply(dx, sign * scale, out=dx)
        for blob, wanted in zip(bottom[2:], propagate_down[2:], strict=True):
            if wanted:
                blob.diff.fill(0)


def _weigh_difference(a: Array, b: Array, inside: Sequence[Array], out: Array) -> None:
    np.subtract(a, b, out=out)
    for weight in inside:
        np.multiply(out, weight, out=out)
