"""MultinomialLogisticLoss: the log likelihood of the labels, given probabilities."""

from __future__ import annotations

import numpy as np

from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.loss.labels import as_samples, read_labels
from farlayer.engine.layers.loss.loss_layer import LossLayer, num_samples
from farlayer.engine.layers.no_gradient import refuse_gradient
from farlayer.engine.registry import register

_SMALLEST = np.float32(1e-20)  # what a smaller probability counts as, as in Caffe


@register("MultinomialLogisticLoss")
class MultinomialLogisticLossLayer(LossLayer):
    """The mean of -log(p[label]); a p below 1e-20 counts as that.

    bottom[0]: p, shape (N, K axes...), all axes but the first taken as K classes. bottom[1]: labels, shape (N,).
    top[0]: the loss, 0-d.
    Differs from Caffe: the loss of an empty batch is 0, not NaN.
    Source: Caffe, src/caffe/layers/multinomial_logistic_loss_layer.cpp.
    """

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        super().reshape(bottom, top)
        self.check_one_value(bottom, 1, "the labels")

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        prob = as_samples(bottom[0].data)
        self._labels = read_labels(self, bottom[1].data, prob.shape)
        own = self.workspace.array("own", self._labels.classes.shape)
        self._labels.pick(prob, own)
        np.maximum(own, _SMALLEST, out=own)
        np.log(own, out=own)
        top[0].data[...] = -own.sum() / num_samples(bottom)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        refuse_gradient(self, propagate_down, 1, "the labels")
        if not propagate_down[0]:
            return
        scale = top[0].diff.item() / num_samples(bottom)
        own = self.workspace.array("own", self._labels.classes.shape)
        self._labels.pick(as_samples(bottom[0].data), own)
        np.maximum(own, _SMALLEST, out=own)
        np.divide(-scale, own, out=own)
        dp = as_samples(bottom[0].diff)
        dp.fill(0)
        self._labels.put(own, dp)
