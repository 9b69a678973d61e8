"""Concat: blobs side by side along one axis."""

from __future__ import annotations

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.layers.common.same_memory import pass_diff, share_diff
from farlayer.engine.layers.common.sections import read_axis, sections
from farlayer.engine.registry import register


@register("Concat")
class ConcatLayer(Layer):
    """y is x[0], x[1], ... side by side along concat_param.axis (or the older concat_dim).

    bottom[i]: x[i], shape (outer axes..., size[i], inner axes...).
    top[0]: y, shape (outer axes..., sum of the sizes, inner axes...). With one bottom it is its memory, data and diff.
    Source: Caffe, src/caffe/layers/concat_layer.cpp.
    """

    min_num_bottom = 1
    exact_num_top = 1

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        self._axis = axis = read_axis(self, self.param.concat_param, "concat_dim", bottom[0])
        shape = bottom[0].shape
        for index, blob in enumerate(bottom):
            others = blob.shape[:axis], blob.shape[axis + 1 :]
            if len(blob.shape) != len(shape) or others != (shape[:axis], shape[axis + 1 :]):
                raise self.error(
                    f"bottom[{index}] has shape {blob.shape}, bottom[0] {shape}: they may differ along axis {axis} "
                    "alone",
                    remedy="give all bottoms the same other axes, or another concat_param.axis",
                )
        self._sizes = [blob.shape[axis] for blob in bottom]
        top[0].reshape(*shape[:axis], sum(self._sizes), *shape[axis + 1 :])
        if len(bottom) == 1:
            share_diff(self, bottom[0], top[0])

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        if len(bottom) == 1:
            top[0].share_data(bottom[0])
            return
        y = top[0].data
        for x, section in zip(bottom, sections(self._axis, self._sizes)):
            y[section] = x.data

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if len(bottom) == 1:
            if propagate_down[0]:
                pass_diff(self, top[0], bottom[0])
            return
        dy = top[0].diff
        for x, wanted, section in zip(bottom, propagate_down, sections(self._axis, self._sizes)):
            if wanted:
                x.diff[...] = dy[section]
