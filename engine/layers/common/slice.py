"""Slice: a blob cut into several along one axis."""

from __future__ import annotations

import itertools

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.layers.common.same_memory import pass_diff, share_diff
from farlayer.engine.layers.common.sections import read_axis, sections
from farlayer.engine.registry import register


@register("Slice")
class SliceLayer(Layer):
    """Cuts x along slice_param.axis (or the older slice_dim): at each slice_point, or into equal parts.

    bottom[0]: x, shape (outer axes..., size, inner axes...).
    top[i]: shape (outer axes..., size of the i-th part, inner axes...). A single top is the memory of bottom[0], data
        and diff.
    Source: Caffe, src/caffe/layers/slice_layer.cpp.
    """

    exact_num_bottom = 1
    min_num_top = 1

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        self._axis = axis = read_axis(self, self.param.slice_param, "slice_dim", bottom[0])
        shape = bottom[0].shape
        cut = self._cut if self.param.slice_param.slice_point else self._divide
        self._sizes = cut(shape[axis], len(top))
        for blob, size in zip(top, self._sizes):
            blob.reshape(*shape[:axis], size, *shape[axis + 1 :])
        if len(top) == 1:
            share_diff(self, bottom[0], top[0])

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        if len(top) == 1:
            top[0].share_data(bottom[0])
            return
        x = bottom[0].data
        for y, section in zip(top, sections(self._axis, self._sizes)):
            y.data[...] = x[section]

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if not propagate_down[0]:
            return
        if len(top) == 1:
            pass_diff(self, top[0], bottom[0])
            return
        dx = bottom[0].diff
        for y, section in zip(top, sections(self._axis, self._sizes)):
            dx[section] = y.diff

    def _cut(self, size: int, num_top: int) -> list[int]:
        """The sizes between the slice points."""
        points = list(self.param.slice_param.slice_point)
        if len(points) != num_top - 1:
            raise self.error(
                f"{len(points)} slice_point(s) for {num_top} top(s), expected {num_top - 1}",
                remedy="give one slice_point less than tops, or none to cut into equal parts",
            )
        edges = [0, *points, size]
        sizes = [end - start for start, end in itertools.pairwise(edges)]
        if num_top > size or min(sizes[:-1]) < 1 or sizes[-1] < 0:
            raise self.error(
                f"slice_points {points} do not cut axis {self._axis} of size {size} into {num_top} parts",
                remedy=f"give slice points that grow, from 1 to {size}",
            )
        return sizes

    def _divide(self, size: int, num_top: int) -> list[int]:
        """Equal sizes."""
        if size % num_top:
            raise self.error(
                f"axis {self._axis} of size {size} cannot be cut into {num_top} equal parts",
                remedy="give slice_point, or a number of tops that divides the size",
            )
        return [size // num_top] * num_top
