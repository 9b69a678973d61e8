"""Upsample: the way back from max pooling."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.registry import register


@register("Upsample")
class UpsampleLayer(Layer):
    """Puts each value to the place that max pooling took it from; all other places are 0.

    bottom[0]: x, shape (N, C, H, W).
    bottom[1]: the mask, the shape of x: the place h * new W + w of each value, as the second top of Pooling gives it.
        It has no gradient.
    top[0]: y, shape (N, C, new H, new W): upsample_h and upsample_w, or H scale_h and W scale_w (scale for both), each
        less 1 with pad_out_h, pad_out_w. Of several values with one place the last counts, and all get its gradient.

    Differs from Caffe (the fork): a size by scale follows the bottom when that changes; there it stays as it was first.
    Source: the fork of SegNet, src/caffe/layers/upsample_layer.cpp.
    """

    exact_num_bottom = 2
    exact_num_top = 1

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index == 0

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.upsample_param
        by_size = self._given("upsample_h", "upsample_w")
        by_side = self._given("scale_h", "scale_w")
        if by_side and param.HasField("scale") and not by_size:
            raise self.error(
                "both scale and scale_h, scale_w are given",
                remedy="give upsample_h and upsample_w instead, or one scale",
            )
        self._size = (param.upsample_h, param.upsample_w) if by_size else None
        self._scale = (param.scale_h, param.scale_w) if by_side else (param.scale, param.scale)
        self._less = (int(param.pad_out_h), int(param.pad_out_w))
        name, factor = ("upsample size", self._size) if self._size else ("scale", self._scale)
        if min(factor) < 2:
            raise self.error(f"{name} {factor} is less than 2", remedy="give 2 or more for both axes")
        if not self._size and any(less and scale != 2 for less, scale in zip(self._less, self._scale, strict=True)):
            raise self.error(
                f"pad_out_h or pad_out_w is given with scale {self._scale}, expected 2 for that axis",
                remedy="give upsample_h and upsample_w instead",
            )

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        shape = bottom[0].shape
        if len(shape) != 4 or bottom[1].shape != shape:
            raise self.error(
                f"bottom shapes are {shape} and {bottom[1].shape} (the mask), expected the same 4 axes (N, C, H, W)",
                remedy="give the pooled blob and the mask that Pooling made of it, its second top",
            )
        by_scale = (side * scale - less for side, scale, less in zip(shape[2:], self._scale, self._less, strict=True))
        height, width = self._size or by_scale
        top[0].reshape(*shape[:2], height, width)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        y = top[0].data
        y.fill(0)
        y.reshape(-1)[self._places(bottom, top)] = bottom[0].data.reshape(-1)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if propagate_down[0]:
            dx = bottom[0].diff.reshape(-1)
            # With its checks on, numpy.take would fill a buffer first. The places have been checked.
            np.take(top[0].diff.reshape(-1), self._places(bottom, top), out=dx, mode="clip")

    def _places(self, bottom: Blobs, top: Blobs) -> NDArray[np.intp]:
        """For each value of x its place among all values of y."""
        num, channels, *size = top[0].shape
        image = math.prod(size)
        places = self.workspace.array_of("places", (num * channels, math.prod(bottom[1].shape[2:])), np.intp)
        np.copyto(places, bottom[1].data.reshape(places.shape), casting="unsafe")
        if places.size and not 0 <= places.min() <= places.max() < image:
            raise self.error(
                f"the mask holds places from {bottom[1].data.min()} to {bottom[1].data.max()}, but in an image of "
                f"{tuple(size)} they go from 0 to {image - 1}",
                remedy="give upsample_h and upsample_w: the size of the image that was pooled with this mask",
            )
        np.add(places, np.arange(num * channels)[:, None] * image, out=places)
        return places.reshape(-1)

    def _given(self, *fields: str) -> bool:
        """Whether a pair of fields is given; half of one is refused."""
        given = [self.param.upsample_param.HasField(field) for field in fields]  # type: ignore[arg-type]
        if any(given) != all(given):
            raise self.error(f"only one of {fields[0]} and {fields[1]} is given", remedy="give both")
        return all(given)
