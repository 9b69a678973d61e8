"""SigmoidCrossEntropyLoss: the cross entropy of independent probabilities, given scores."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.loss.loss_layer import LossLayer, num_samples
from farlayer.engine.layers.loss.normalization import ignored_label, normalization_mode, normalizer
from farlayer.engine.layers.neuron.bnll import softplus
from farlayer.engine.layers.neuron.sigmoid import sigmoid
from farlayer.engine.layers.no_gradient import refuse_gradient
from farlayer.engine.layers.parts import parts
from farlayer.engine.registry import register
from farlayer.protos import caffe_pb2

Array = NDArray[np.float32]


@register("SigmoidCrossEntropyLoss")
class SigmoidCrossEntropyLossLayer(LossLayer):
    """The sum of -t log(s) - (1 - t) log(1 - s), s = sigmoid(x), divided as loss_param.normalization says.

    Worked out as log(1 + exp(x)) - x t. The divisor is N (BATCH_SIZE) unless given.

    bottom[0]: x, shape (N, ...). bottom[1]: t, as many values; whole numbers equal to ignore_label do not count.
    top[0]: the loss, 0-d.
    Source: Caffe, src/caffe/layers/sigmoid_cross_entropy_loss_layer.cpp.
    """

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        super().reshape(bottom, top)
        if bottom[0].count != bottom[1].count:
            raise self.error(
                f"bottom shapes {bottom[0].shape} and {bottom[1].shape} hold different numbers of values",
                remedy="give one target for each score",
            )
        self._ignore_label = ignored_label(self.param.loss_param)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        total, num_valid = 0.0, bottom[0].count
        for x, target in parts(bottom[0].data, bottom[1].data):
            loss = self.workspace.array("loss", x.shape)
            term = self.workspace.array("term", x.shape)
            softplus(x, loss, self.workspace)
            np.multiply(x, target, out=term)
            np.subtract(loss, term, out=loss)
            num_valid -= self._clear_ignored(target, loss)
            total += float(loss.sum())
        mode = normalization_mode(self.param.loss_param, caffe_pb2.LossParameter.BATCH_SIZE)
        self._normalizer = normalizer(mode, num_samples(bottom), math.prod(bottom[0].shape[1:]), num_valid)
        top[0].data[...] = total / self._normalizer

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        refuse_gradient(self, propagate_down, 1, "the targets")
        if not propagate_down[0]:
            return
        scale = top[0].diff.item() / self._normalizer
        for x, target, dx in parts(bottom[0].data, bottom[1].data, bottom[0].diff):
            sigmoid(x, dx)
            np.subtract(dx, target, out=dx)
            np.multiply(dx, scale, out=dx)
            self._clear_ignored(target, dx)

    def _clear_ignored(self, target: Array, values: Array) -> int:
        """Sets values to 0 where the target is ignored, and counts these places."""
        if self._ignore_label is None:
            return 0
        whole = self.workspace.array("whole", target.shape)
        ignored = self.workspace.array_of("ignored", target.shape, np.bool_)
        np.trunc(target, out=whole)
        np.equal(whole, self._ignore_label, out=ignored)
        np.copyto(values, 0, where=ignored)
        return int(np.count_nonzero(ignored))
