"""ContrastiveLoss: pulls similar pairs together and pushes others apart."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.loss.loss_layer import LossLayer, num_samples
from farlayer.engine.registry import register

Array = NDArray[np.float32]

_SMALL = 1e-4  # keeps the gradient at a distance of 0 finite, as in Caffe


@register("ContrastiveLoss")
class ContrastiveLossLayer(LossLayer):
    """The sum of d^2 for similar pairs and max(margin - d, 0)^2 for others, divided by 2 N; d = |a - b|.

    With legacy_version others cost max(margin - d^2, 0).

    bottom[0]: a, shape (N, C). bottom[1]: b, shape (N, C); both may get a gradient.
    bottom[2]: whether a pair is similar, shape (N,): 0 for no, other whole numbers for yes; its gradient is 0.
    top[0]: the loss, 0-d.
    Differs from Caffe: the batch may change its size; the loss of an empty one is 0, not NaN.
    Source: Caffe, src/caffe/layers/contrastive_loss_layer.cpp.
    """

    exact_num_bottom = 3

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        super().reshape(bottom, top)
        self.check_same_shape(bottom, 1)
        if math.prod(bottom[0].shape[2:]) != 1:
            raise self.error(
                f"bottom shape {bottom[0].shape} has other than one value a channel, expected (N, C)",
                remedy="flatten the bottoms first",
            )
        self.check_one_value(bottom, 2, "the similarities")

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index != 2

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        a, b = _rows(bottom[0].data), _rows(bottom[1].data)
        difference = self.workspace.array("difference", a.shape)
        np.subtract(a, b, out=difference)
        squared = self.workspace.array("squared", a.shape[:1])
        cost, factor = self.workspace.array("cost", squared.shape), self._factor(squared.shape)
        similar = self.workspace.array_of("similar", squared.shape, np.bool_)
        np.abs(bottom[2].data.reshape(-1), out=cost)
        np.greater_equal(cost, 1, out=similar)
        np.einsum("nc,nc->n", difference, difference, out=squared)
        self._push_apart(squared, cost, factor)
        np.copyto(cost, squared, where=similar)
        np.copyto(factor, 1, where=similar)
        top[0].data[...] = cost.sum() / num_samples(bottom) / 2

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        scale = top[0].diff.item() / num_samples(bottom)
        for index, sign in ((0, 1), (1, -1)):
            if propagate_down[index]:
                dx = _rows(bottom[index].diff)
                np.subtract(_rows(bottom[0].data), _rows(bottom[1].data), out=dx)
                np.multiply(dx, self._factor(dx.shape[:1])[:, np.newaxis], out=dx)
                np.multiply(dx, sign * scale, out=dx)
        if propagate_down[2]:
            bottom[2].diff.fill(0)

    def _push_apart(self, squared: Array, cost: Array, factor: Array) -> None:
        """Computes what pairs that are not similar cost, and the factor of a - b in the gradient."""
        param = self.param.contrastive_loss_param
        if param.legacy_version:
            np.subtract(param.margin, squared, out=cost)
            np.clip(cost, 0, np.inf, out=cost)
            np.sign(cost, out=factor)
        else:
            np.sqrt(squared, out=factor)
            np.subtract(param.margin, factor, out=cost)
            np.clip(cost, 0, np.inf, out=cost)
            np.add(factor, _SMALL, out=factor)
            np.divide(cost, factor, out=factor)
            np.multiply(cost, cost, out=cost)
        np.negative(factor, out=factor)

    def _factor(self, shape: tuple[int, ...]) -> Array:
        """What a - b is multiplied by in the gradient of each pair, as forward left it."""
        return self.scratch.array("factor", shape)


def _rows(array: Array) -> Array:
    """Views an array as one row a sample."""
    shape = array.shape or (1,)
    return array.reshape(shape[0], math.prod(shape[1:]))
