"""SoftmaxWithLoss: softmax followed by the multinomial logistic loss."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.common.softmax import as_outer_axis_inner, softmax
from farlayer.engine.layers.loss.labels import Labels, check_label_count, read_labels
from farlayer.engine.layers.loss.loss_layer import LossLayer
from farlayer.engine.layers.loss.normalization import ignored_label, normalization_mode, normalizer
from farlayer.engine.layers.no_gradient import refuse_gradient
from farlayer.engine.registry import register

Array = NDArray[np.float32]

_SMALLEST = np.finfo(np.float32).tiny  # the log of a probability of 0 is that of FLT_MIN, as in Caffe


@register("SoftmaxWithLoss")
class SoftmaxWithLossLayer(LossLayer):
    """The sum of -log(p[label]), p = softmax(x) along softmax_param.axis, divided as loss_param.normalization says.

    bottom[0]: x, shape (outer axes..., classes, inner axes...). bottom[1]: labels, one for each outer and inner place.
    top[0]: the loss, 0-d. top[1], where named: p, the shape of x.
    loss_param.ignore_label: a label of places without a loss. weight_by_label_freqs (SegNet): each place weighs
        class_weighting[label] in the sum, while the divisor stays.
    Source: Caffe, src/caffe/layers/softmax_loss_layer.cpp; alexgkendall/caffe-segnet, same file.
    """

    exact_num_top = None
    min_num_top = 1
    max_num_top = 2

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        super().reshape(bottom, top)
        self._axis = self.canonical_axis(self.param.softmax_param.axis, bottom[0], "softmax_param.axis")
        check_label_count(self, bottom[0], bottom[1], self._axis)
        self._class_weights = self._read_class_weights(bottom[0].shape[self._axis])
        if len(top) > 1:
            top[1].reshape(bottom[0].shape)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        loss_param = self.param.loss_param
        prob = self._prob(bottom, top)
        softmax(as_outer_axis_inner(bottom[0].data, self._axis), prob, self.workspace)
        labels = self._labels = read_labels(self, bottom[1].data, prob.shape, ignored_label(loss_param))
        likelihood = self.workspace.array("likelihood", labels.classes.shape)
        labels.pick(prob, likelihood)
        labels.fill_ignored(likelihood, 1)
        np.maximum(likelihood, _SMALLEST, out=likelihood)
        np.log(likelihood, out=likelihood)
        if self._class_weights is not None:
            np.multiply(likelihood, self._weights_of(labels, self._class_weights), out=likelihood)
        outer, _, inner = prob.shape
        self._normalizer = normalizer(normalization_mode(loss_param), outer, inner, labels.num_valid)
        top[0].data[...] = -likelihood.sum() / self._normalizer

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        refuse_gradient(self, propagate_down, 1, "the labels")
        if not propagate_down[0]:
            return
        labels = self._labels
        dx = as_outer_axis_inner(bottom[0].diff, self._axis)
        prob = self._prob(bottom, top)
        scale: Array | float = top[0].diff.item() / self._normalizer
        if self._class_weights is not None:
            weights = self._weights_of(labels, self._class_weights)
            scale = np.multiply(weights, scale, out=weights)
        own = self.workspace.array("own", labels.classes.shape)
        labels.pick(prob, own)
        np.subtract(own, 1, out=own)
        np.multiply(own, scale, out=own)
        np.multiply(prob, scale, out=dx)
        labels.put(own, dx)
        labels.fill_ignored(dx, 0)

    def _prob(self, bottom: Blobs, top: Blobs) -> Array:
        """The probabilities as (outer, classes, inner): in top[1] where there is one, as Caffe does."""
        array = top[1].data if len(top) > 1 else self.scratch.array("prob", bottom[0].shape)
        return as_outer_axis_inner(array, self._axis)

    def _read_class_weights(self, num_classes: int) -> Array | None:
        param = self.param.loss_param
        if not param.weight_by_label_freqs:
            return None
        if len(param.class_weighting) != num_classes:
            raise self.error(
                f"class_weighting is given {len(param.class_weighting)} times for {num_classes} classes",
                remedy="give it once for each class, or set weight_by_label_freqs: false",
            )
        return np.array(param.class_weighting, np.float32)

    def _weights_of(self, labels: Labels, class_weights: Array) -> Array:
        weights = self.workspace.array("weights", labels.classes.shape)
        return np.take(class_weights, labels.classes, out=weights, mode="clip")
