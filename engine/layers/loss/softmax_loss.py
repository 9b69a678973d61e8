"""SoftmaxWithLoss: softmax followed by the multinomial logistic loss."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.common.softmax import as_outer_axis_inner, softmax
from farlayer.engine.layers.loss.labels import read_labels
from farlayer.engine.layers.loss.loss_layer import LossLayer
from farlayer.engine.registry import register
from farlayer.protos import caffe_pb2

_SMALLEST = np.finfo(np.float32).tiny  # the log of a probability of 0 is that of FLT_MIN, as in Caffe


@register("SoftmaxWithLoss")
class SoftmaxWithLossLayer(LossLayer):
    """The mean of -log(softmax(x)[label]) along softmax_param.axis, divided as loss_param.normalization says.

    bottom[0]: x, shape (outer axes..., classes, inner axes...). bottom[1]: labels, one for each outer and inner place.
    top[0]: the loss, 0-d. top[1], where named: the probabilities, the shape of x.
    Source: Caffe, src/caffe/layers/softmax_loss_layer.cpp.
    """

    exact_num_top = None
    min_num_top = 1
    max_num_top = 2

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        super().reshape(bottom, top)
        self._axis = self.canonical_axis(self.param.softmax_param.axis, bottom[0], "softmax_param.axis")
        num_classes = bottom[0].shape[self._axis]
        if bottom[1].count * num_classes != bottom[0].count:
            raise self.error(
                f"{bottom[1].count} labels (shape {bottom[1].shape}) for predictions of shape {bottom[0].shape} with "
                f"classes along axis {self._axis}",
                remedy="give one label, a whole number from 0 to classes - 1, for each place outside that axis",
            )
        if len(top) > 1:
            top[1].reshape(bottom[0].shape)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        x = as_outer_axis_inner(bottom[0].data, self._axis)
        prob = self._prob(bottom, top)
        softmax(x, prob, self.scratch)
        outer, num_classes, inner = x.shape
        self._labels, self._counts = read_labels(
            self, bottom[1].data.reshape(outer, 1, inner), num_classes, self._ignore_label()
        )
        picked = np.take_along_axis(prob, self._labels, axis=1) if prob.size else prob[:, :1]
        np.maximum(picked, _SMALLEST, out=picked)
        log_likelihood = np.log(picked)
        if self._counts is not None:
            log_likelihood *= self._counts
        self._normalizer = self._normalize_by(outer, inner)
        top[0].data[...] = -log_likelihood.sum() / self._normalizer

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if propagate_down[1]:
            raise self.error("labels cannot have a gradient", remedy="set propagate_down: false for the second bottom")
        if not propagate_down[0]:
            return
        dx = as_outer_axis_inner(bottom[0].diff, self._axis)
        if not dx.size:
            return
        prob = self._prob(bottom, top)
        weight = np.float32(top[0].diff.item() / self._normalizer)
        picked = np.take_along_axis(prob, self._labels, axis=1) - 1
        np.multiply(prob, weight, out=dx)
        np.put_along_axis(dx, self._labels, picked * weight, axis=1)
        if self._counts is not None:
            np.multiply(dx, self._counts, out=dx)

    def _prob(self, bottom: Blobs, top: Blobs) -> NDArray[np.float32]:
        """The probabilities as (outer, classes, inner): in top[1] where there is one, as Caffe does."""
        array = top[1].data if len(top) > 1 else self.scratch.array("prob", bottom[0].shape)
        return as_outer_axis_inner(array, self._axis)

    def _ignore_label(self) -> int | None:
        loss_param = self.param.loss_param
        return loss_param.ignore_label if loss_param.HasField("ignore_label") else None

    def _normalize_by(self, outer: int, inner: int) -> float:
        """What the summed loss is divided by; never less than 1."""
        mode = self._normalization()
        if mode == caffe_pb2.LossParameter.NONE:
            return 1.0
        if mode == caffe_pb2.LossParameter.BATCH_SIZE:
            return float(max(outer, 1))
        if mode == caffe_pb2.LossParameter.VALID and self._counts is not None:
            return float(max(int(np.count_nonzero(self._counts)), 1))
        return float(max(outer * inner, 1))

    def _normalization(self) -> caffe_pb2.LossParameter.NormalizationMode.ValueType:
        loss_param = self.param.loss_param
        if loss_param.HasField("normalization") or not loss_param.HasField("normalize"):
            return loss_param.normalization
        # The older field, which knew two of the modes.
        return caffe_pb2.LossParameter.VALID if loss_param.normalize else caffe_pb2.LossParameter.BATCH_SIZE
