"""InfogainLoss: a multinomial logistic loss in which a matrix says what each confusion costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farlayer.blobs.blob import Blob
from farlayer.engine.blob_proto import blob_from_proto
from farlayer.engine.files import read_message
from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.common.softmax import as_outer_axis_inner, softmax
from farlayer.engine.layers.loss.labels import check_label_count, read_labels
from farlayer.engine.layers.loss.loss_layer import LossLayer
from farlayer.engine.layers.loss.normalization import ignored_label, normalization_mode, normalizer
from farlayer.engine.layers.no_gradient import refuse_gradient
from farlayer.engine.registry import register
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import SnapshotError

Array = NDArray[np.float32]

_SMALLEST = np.float32(1e-20)  # what a smaller probability counts as, as in Caffe


@register("InfogainLoss")
class InfogainLossLayer(LossLayer):
    """The sum of -H[label, k] log(p[k]) over all classes k, divided as loss_param.normalization says.

    p = softmax(x) along infogain_loss_param.axis; a p below 1e-20 counts as that. For H = 1 it is SoftmaxWithLoss.

    bottom[0]: x, shape (outer axes..., classes, inner axes...). bottom[1]: labels, one for each outer and inner place.
    bottom[2], where given: H, classes * classes values; else H is the BlobProto in the file infogain_loss_param.source.
    top[0]: the loss, 0-d. top[1], where named: p, the shape of x.
    loss_param.ignore_label: a label of places without a loss.
    Source: Caffe, src/caffe/layers/infogain_loss_layer.cpp.
    """

    exact_num_bottom = None
    min_num_bottom = 2
    max_num_bottom = 3
    exact_num_top = None
    min_num_top = 1
    max_num_top = 2

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        super().setup(bottom, top)
        if self.param.loss_param.HasField("normalize"):
            raise self.error("loss_param.normalize is not read by this type", remedy="use loss_param.normalization")
        self._stored_matrix = self._read_matrix() if len(bottom) < 3 else None

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        super().reshape(bottom, top)
        axis = self.param.infogain_loss_param.axis
        self._axis = self.canonical_axis(axis, bottom[0], "infogain_loss_param.axis")
        check_label_count(self, bottom[0], bottom[1], self._axis)
        num_classes = bottom[0].shape[self._axis]
        matrix = self._matrix(bottom)
        if matrix.count != num_classes**2:
            raise self.error(
                f"the infogain matrix has shape {matrix.shape} for {num_classes} classes (axis {self._axis} of "
                f"bottom shape {bottom[0].shape}), expected {num_classes} x {num_classes} values",
                remedy="give a matrix with a row and a column for each class",
            )
        if len(top) > 1:
            top[1].reshape(bottom[0].shape)

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index == 0

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        loss_param = self.param.loss_param
        prob = self._prob(bottom, top)
        softmax(as_outer_axis_inner(bottom[0].data, self._axis), prob, self.workspace)
        labels = self._labels = read_labels(self, bottom[1].data, prob.shape, ignored_label(loss_param))
        loss = self.workspace.array("loss", prob.shape)
        np.maximum(prob, _SMALLEST, out=loss)
        np.log(loss, out=loss)
        np.multiply(loss, self._rows(bottom, prob.shape), out=loss)
        labels.fill_ignored(loss, 0)
        outer, _, inner = prob.shape
        self._normalizer = normalizer(normalization_mode(loss_param), outer, inner, labels.num_valid)
        top[0].data[...] = -loss.sum() / self._normalizer

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        refuse_gradient(self, propagate_down, 1, "the labels")
        if len(bottom) > 2:
            refuse_gradient(self, propagate_down, 2, "the infogain matrix")
        if not propagate_down[0]:
            return
        prob, dx = self._prob(bottom, top), as_outer_axis_inner(bottom[0].diff, self._axis)
        rows = self._rows(bottom, prob.shape)
        row_sums = self.workspace.array("row sums", self._labels.classes.shape)
        np.sum(rows, axis=1, keepdims=True, out=row_sums)
        np.multiply(prob, row_sums, out=dx)
        np.subtract(dx, rows, out=dx)
        np.multiply(dx, top[0].diff.item() / self._normalizer, out=dx)
        self._labels.fill_ignored(dx, 0)

    def _prob(self, bottom: Blobs, top: Blobs) -> Array:
        """The probabilities as (outer, classes, inner): in top[1] where there is one, as Caffe does."""
        array = top[1].data if len(top) > 1 else self.scratch.array("prob", bottom[0].shape)
        return as_outer_axis_inner(array, self._axis)

    def _matrix(self, bottom: Blobs) -> Blob:
        return bottom[2] if self._stored_matrix is None else self._stored_matrix

    def _rows(self, bottom: Blobs, shape: tuple[int, ...]) -> Array:
        """The row of the matrix for the label of each place, as (outer, classes, inner)."""
        outer, num_classes, inner = shape
        rows = self.workspace.array("rows", (outer, inner, num_classes))
        if rows.size:
            matrix = self._matrix(bottom).data.reshape(num_classes, num_classes)
            np.take(matrix, self._labels.classes.reshape(outer, inner), axis=0, out=rows, mode="clip")
        return rows.transpose(0, 2, 1)

    def _read_matrix(self) -> Blob:
        param = self.param.infogain_loss_param
        if not param.HasField("source"):
            raise self.error(
                "no infogain matrix is given", remedy="set infogain_loss_param.source, or give it as a third bottom"
            )
        try:
            return blob_from_proto(
                read_message(
                    Path(param.source),
                    caffe_pb2.BlobProto(),
                    "infogain matrix",
                    kind=".binaryproto file",
                    remedy="write it as a BlobProto in binary form",
                )
            )
        except SnapshotError as error:
            raise self.error(f"infogain_loss_param.source: {error.message}", remedy=error.remedy) from error
