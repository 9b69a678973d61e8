"""HingeLoss: one-versus-all margins, as linear support vector machines have them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.loss.labels import Labels, as_samples, read_labels
from farlayer.engine.layers.loss.loss_layer import LossLayer, num_samples
from farlayer.engine.layers.no_gradient import refuse_gradient
from farlayer.engine.registry import register
from farlayer.protos import caffe_pb2

Array = NDArray[np.float32]


@register("HingeLoss")
class HingeLossLayer(LossLayer):
    """The sum of m (norm L1) or m^2 (L2) over all scores, divided by N; m = max(0, 1 + x), but 1 - x for the label's x.

    bottom[0]: x, shape (N, K axes...), all axes but the first taken as K classes. bottom[1]: labels, shape (N,).
    top[0]: the loss, 0-d. As in Caffe, forward leaves m in the diff of bottom[0], whoever needs a gradient.
    Differs from Caffe: the number of labels is checked; the loss of an empty batch is 0, not NaN.
    Source: Caffe, src/caffe/layers/hinge_loss_layer.cpp.
    """

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        super().reshape(bottom, top)
        self.check_one_value(bottom, 1, "the labels")

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        x = as_samples(bottom[0].data)
        self._labels = read_labels(self, bottom[1].data, x.shape)
        margins = as_samples(bottom[0].diff)
        self._work_out_margins(x, self._labels, margins)
        total = margins.sum() if self._is_l1() else np.dot(margins.reshape(-1), margins.reshape(-1))
        top[0].data[...] = total / num_samples(bottom)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        refuse_gradient(self, propagate_down, 1, "the labels")
        if not propagate_down[0]:
            return
        scale = top[0].diff.item() / num_samples(bottom)
        dx = as_samples(bottom[0].diff)
        self._work_out_margins(as_samples(bottom[0].data), self._labels, dx)
        if self._is_l1():
            np.greater(dx, 0, out=dx)
        else:
            np.multiply(dx, 2, out=dx)
        self._negate_own(dx, self._labels)
        np.multiply(dx, scale, out=dx)

    def _work_out_margins(self, x: Array, labels: Labels, margins: Array) -> None:
        np.copyto(margins, x)
        self._negate_own(margins, labels)
        np.add(margins, 1, out=margins)
        np.clip(margins, 0, np.inf, out=margins)

    def _negate_own(self, values: Array, labels: Labels) -> None:
        own = self.workspace.array("own", labels.classes.shape)
        labels.pick(values, own)
        np.negative(own, out=own)
        labels.put(own, values)

    def _is_l1(self) -> bool:
        return self.param.hinge_loss_param.norm == caffe_pb2.HingeLossParameter.L1
