"""Accuracy: the share of samples whose label is among the best scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs
from farlayer.engine.layers.common.softmax import as_outer_axis_inner
from farlayer.engine.layers.loss.labels import Labels, check_label_count, read_labels
from farlayer.engine.layers.loss.normalization import ignored_label
from farlayer.engine.layers.no_gradient import NoGradientLayer
from farlayer.engine.registry import register


@register("Accuracy")
class AccuracyLayer(NoGradientLayer):
    """How often fewer than top_k other classes score at least as high as the label's.

    bottom[0]: scores, shape (outer axes..., classes, inner axes...), classes along accuracy_param.axis.
    bottom[1]: labels, one for each outer and inner place; ignore_label does not count.
    top[0]: the accuracy, 0-d, 0 where nothing counts. top[1], where named: accuracy of each class, shape (classes,).
    Differs from Caffe: force_backward leaves the layer out, where Caffe's stops the run; it has no gradient. A
        top_k of 0 is refused, where Caffe's accuracy is then 0.
    Source: Caffe, src/caffe/layers/accuracy_layer.cpp.
    """

    exact_num_bottom = 2
    min_num_top = 1
    max_num_top = 2

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.accuracy_param
        self._axis = self.canonical_axis(param.axis, bottom[0], "accuracy_param.axis")
        check_label_count(self, bottom[0], bottom[1], self._axis)
        num_classes = bottom[0].shape[self._axis]
        if not 1 <= param.top_k <= num_classes:
            raise self.error(
                f"top_k is {param.top_k} for {num_classes} classes",
                remedy=f"choose a top_k from 1 to {num_classes}",
            )
        top[0].reshape(())
        if len(top) > 1:
            top[1].reshape(num_classes)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.accuracy_param
        scores = as_outer_axis_inner(bottom[0].data, self._axis)
        labels = read_labels(self, bottom[1].data, scores.shape, ignored_label(param))
        own = self.workspace.array("own", labels.classes.shape)
        labels.pick(scores, own)
        better = self.workspace.array_of("better", scores.shape, np.bool_)
        np.greater_equal(scores, own, out=better)
        num_better = self.workspace.array_of("num better", own.shape, np.intp)
        np.sum(better, axis=1, keepdims=True, out=num_better)
        correct = self.workspace.array_of("correct", own.shape, np.bool_)
        # The label's own score is among those that are at least as high as itself.
        np.less_equal(num_better, param.top_k, out=correct)
        labels.fill_ignored(correct, False)
        top[0].data[...] = np.count_nonzero(correct) / max(labels.num_valid, 1)
        if len(top) > 1:
            self._write_accuracy_of_classes(labels, correct, top[1].data)

    def _write_accuracy_of_classes(
        self, labels: Labels, correct: NDArray[np.bool_], accuracies: NDArray[np.float32]
    ) -> None:
        num_classes = accuracies.size
        seen = np.bincount(labels.classes.reshape(-1), minlength=num_classes)
        if labels.ignored is not None:
            seen[0] -= np.count_nonzero(labels.ignored)  # ignored labels were read as 0
        right = np.zeros(num_classes, np.intp)
        np.add.at(right, labels.classes, correct)
        np.divide(right, np.maximum(seen, 1), out=accuracies, casting="same_kind")
