"""Accuracy: the share of samples whose label is among the best scores."""

from __future__ import annotations

import math

import numpy as np

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.layers.common.softmax import as_outer_axis_inner
from farlayer.engine.layers.loss.labels import read_labels
from farlayer.engine.registry import register


@register("Accuracy")
class AccuracyLayer(Layer):
    """How often fewer than top_k other classes score at least as high as the label's.

    bottom[0]: scores, shape (outer axes..., classes, inner axes...), classes along accuracy_param.axis.
    bottom[1]: labels, one for each outer and inner place; ignore_label does not count.
    top[0]: the accuracy, 0-d, 0 where nothing counts. top[1], where named: accuracy of each class, shape (classes,).
    Differs from Caffe: force_backward leaves the layer out, where Caffe's stops the run; it has no gradient.
    Source: Caffe, src/caffe/layers/accuracy_layer.cpp.
    """

    exact_num_bottom = 2
    min_num_top = 1
    max_num_top = 2

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.accuracy_param
        self._axis = self.canonical_axis(param.axis, bottom[0], "accuracy_param.axis")
        shape = bottom[0].shape
        num_classes = shape[self._axis]
        places = math.prod(shape[: self._axis]) * math.prod(shape[self._axis + 1 :])
        if bottom[1].count != places:
            raise self.error(
                f"{bottom[1].count} labels (shape {bottom[1].shape}) for scores of shape {shape} with classes along "
                f"axis {self._axis}, expected {places}",
                remedy="give one label, a whole number from 0 to classes - 1, for each place outside that axis",
            )
        if not 1 <= param.top_k <= num_classes:
            raise self.error(
                f"top_k is {param.top_k} for {num_classes} classes",
                remedy=f"choose a top_k from 1 to {num_classes}",
            )
        top[0].reshape(())
        if len(top) > 1:
            top[1].reshape(num_classes)

    def allow_force_backward(self, bottom_index: int) -> bool:
        return False

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.accuracy_param
        scores = as_outer_axis_inner(bottom[0].data, self._axis)
        outer, num_classes, inner = scores.shape
        labels, counts = read_labels(
            self,
            bottom[1].data.reshape(outer, 1, inner),
            num_classes,
            param.ignore_label if param.HasField("ignore_label") else None,
        )
        own = np.take_along_axis(scores, labels, axis=1)
        # The label's own score is among those that are at least as high as itself.
        correct = np.count_nonzero(scores >= own, axis=1, keepdims=True) <= param.top_k
        if counts is not None:
            labels, correct = labels[counts], correct[counts]
        top[0].data[...] = correct.mean() if correct.size else 0
        if len(top) > 1:
            seen = np.bincount(labels.ravel(), minlength=num_classes)
            right = np.bincount(labels.ravel(), weights=correct.ravel(), minlength=num_classes)
            np.divide(right, np.maximum(seen, 1), out=top[1].data, casting="same_kind")

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if any(propagate_down):
            raise self.error(
                "it has no gradient, but one of its bottoms is to get one",
                remedy="give it no loss_weight, and let no loss depend on its tops",
            )
