"""BatchReindex: samples picked, repeated and put in another order."""

from __future__ import annotations

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.layers.common.rows import add_rows, read_indices, take_rows
from farlayer.engine.layers.no_gradient import refuse_gradient
from farlayer.engine.registry import register


@register("BatchReindex")
class BatchReindexLayer(Layer):
    """y[i] = x[index[i]]; in backward a sample that was taken several times gets the sum of its gradients.

    bottom[0]: x, shape (N, any axes...). bottom[1]: index, shape (M,), values in 0 .. N - 1.
    top[0]: y, shape (M, any axes...).
    Differs from Caffe: force_backward leaves the index out, where Caffe's stops the run; it has no gradient.
    Source: Caffe, src/caffe/layers/batch_reindex_layer.cpp.
    """

    exact_num_bottom = 2
    exact_num_top = 1

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        x, index = bottom
        if not x.shape:
            raise self.error("bottom[0] has no axes", remedy="give it a batch: the first axis counts the samples")
        if len(index.shape) != 1:
            raise self.error(
                f"the index, bottom[1], has shape {index.shape}, expected one axis",
                remedy="flatten it, with a Reshape layer for example",
            )
        top[0].reshape(*index.shape, *x.shape[1:])

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index == 0

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self._indices = read_indices(self, bottom[1], bottom[0].shape[0], "samples in bottom[0]")
        take_rows(bottom[0].data, self._indices, top[0].data)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        refuse_gradient(self, propagate_down, 1, "the index")
        if propagate_down[0]:
            dx = bottom[0].diff
            dx.fill(0)
            add_rows(top[0].diff, self._indices, dx, self.workspace)
