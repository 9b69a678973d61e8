"""Pooling over the last two axes: maximum, average and stochastic."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.layers.vision.pool_methods import Numbers, PoolMethods
from farlayer.engine.layers.vision.pool_windows import Pair, PoolWindows
from farlayer.engine.registry import register
from farlayer.protos import caffe_pb2

Scalar = TypeVar("Scalar", bound=np.generic)

_MAX_KERNEL = 2**16 - 1  # element numbers are kept in two bytes, small ones in one


@register("Pooling")
class PoolingLayer(Layer):
    """Reduces each window of an image to one value.

    bottom[0]: x, shape (N, C, H, W).
    top[0]: y, shape (N, C, pooled H, pooled W), sizes rounded up (round_mode FLOOR, or in forks ceil_mode
        false: down); with padding the last window is dropped where it would start behind the image.
    top[1], MAX only, where named: for each maximum its place h * W + w, -1 where the window is empty. Of equal maxima
        the first counts.
    AVE divides by the window's size with the padding, clipped at the far edge of the padding.
    STOCHASTIC, as Caffe's GPU code: in TRAIN one value of the window drawn with a chance in proportion to it, in TEST
        the mean weighted so; for values of 0 and above.
    Source: Caffe, src/caffe/layers/pooling_layer.cpp, pooling_layer.cu.
    """

    exact_num_bottom = 1
    min_num_top = 1
    max_num_top = 2

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.pooling_param
        self._method = param.pool
        if len(top) > 1 and self._method != caffe_pb2.PoolingParameter.MAX:
            raise self.error("a second top (the mask) is given, but pool is not MAX", remedy="remove the second top")
        floor = param.round_mode == caffe_pb2.PoolingParameter.FLOOR or not param.ceil_mode
        self._windows = PoolWindows(
            self._read_kernel(), self._read_pair("stride", 1), self._read_pair("pad", 0), (0, 0), floor
        )
        kernel, stride, pad = self._windows.kernel, self._windows.stride, self._windows.pad
        if any(value < 1 for value in (*stride, *kernel)):
            raise self.error(f"kernel {kernel} or stride {stride} is 0", remedy="set both to 1 or more")
        if param.global_pooling and (any(pad) or stride != (1, 1)):
            raise self.error(f"global_pooling with pad {pad} and stride {stride}", remedy="leave pad and stride out")
        if any(pad) and self._method == caffe_pb2.PoolingParameter.STOCHASTIC:
            raise self.error("padding is given, but pool is STOCHASTIC", remedy="use MAX or AVE, or no padding")
        if any(pad) and any(p >= k for p, k in zip(pad, kernel, strict=True)):
            raise self.error(f"pad {pad} is not smaller than the kernel {kernel}", remedy="use less padding")

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        shape = bottom[0].shape
        if len(shape) != 4:
            raise self.error(
                f"bottom shape {shape} has {len(shape)} axes, expected 4 (N, C, H, W)",
                remedy="reshape the blob to 4 axes first",
            )
        size = (shape[2], shape[3])
        kernel = size if self.param.pooling_param.global_pooling else self._windows.kernel
        windows = replace(self._windows, size=size, kernel=kernel)
        pooled = windows.pooled
        if min(pooled) < 1 or min(size) < 1:
            raise self.error(
                f"image size {size} is smaller than the kernel {kernel}",
                remedy="give larger bottoms, a smaller kernel or more padding",
            )
        if math.prod(kernel) > _MAX_KERNEL and self._method != caffe_pb2.PoolingParameter.AVE:
            raise self.error(
                f"kernel {kernel} has more than {_MAX_KERNEL} elements", remedy="pool in two steps, or with AVE"
            )
        if windows != self._windows:
            self._windows = windows
            self._methods = PoolMethods(windows, self.workspace)
            self._numbers = np.uint8 if math.prod(kernel) <= np.iinfo(np.uint8).max else np.uint16
        for blob in top:
            blob.reshape(*shape[:2], *pooled)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        x, y = _planes(bottom[0].data), _planes(top[0].data)
        is_train = self.param.phase == caffe_pb2.TRAIN
        for part in self._methods.parts(len(x)):
            if self._method == caffe_pb2.PoolingParameter.AVE:
                self._methods.average(x[part], y[part])
            elif self._method == caffe_pb2.PoolingParameter.MAX:
                self._methods.maximum(x[part], y[part], self._chosen(top)[part])
            elif is_train:
                self._methods.draw(x[part], y[part], self._chosen(top)[part], self.context.rng)
            else:
                self._methods.weighted_mean(x[part], y[part])
        if len(top) > 1:
            top[1].data[...] = self._windows.places(self._chosen(top).reshape(top[0].shape))

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if not propagate_down[0]:
            return
        if self._method == caffe_pb2.PoolingParameter.STOCHASTIC and self.param.phase != caffe_pb2.TRAIN:
            raise self.error("STOCHASTIC pooling has a gradient in TRAIN only", remedy="run backward in phase TRAIN")
        dy, dx = _planes(top[0].diff), _planes(bottom[0].diff)
        for part in self._methods.parts(len(dx)):
            if self._method == caffe_pb2.PoolingParameter.AVE:
                self._methods.spread(dy[part], dx[part])
            else:
                self._methods.route(dy[part], self._chosen(top)[part], dx[part])

    def _chosen(self, top: Blobs) -> Numbers:
        """For each window the number of the kernel's element that forward chose, by plane; kept for backward."""
        return _planes(self.scratch.array_of("chosen", top[0].shape, self._numbers))

    def _read_kernel(self) -> Pair:
        param = self.param.pooling_param
        by_side = param.HasField("kernel_h"), param.HasField("kernel_w")
        given = param.HasField("kernel_size")
        if param.global_pooling:
            if given or any(by_side):
                raise self.error("both a kernel size and global_pooling are given", remedy="keep one of them")
            return (1, 1)  # reshape knows the size of the image
        if given == all(by_side):  # as in Caffe, one side alone does not count beside kernel_size
            raise self.error(
                "the kernel must be given either by kernel_size or by both kernel_h and kernel_w",
                remedy="give one of the two forms",
            )
        return (param.kernel_size, param.kernel_size) if given else (param.kernel_h, param.kernel_w)

    def _read_pair(self, field: str, default: int) -> Pair:
        given = {descriptor.name: int(value) for descriptor, value in self.param.pooling_param.ListFields()}
        sides = [given[name] for name in (f"{field}_h", f"{field}_w") if name in given]
        if not sides:
            value = given.get(field, default)
            return (value, value)
        if field in given or len(sides) < 2:
            raise self.error(
                f"{field} must be given either by {field} or by both {field}_h and {field}_w",
                remedy="give one of the two forms",
            )
        return (sides[0], sides[1])


def _planes(array: NDArray[Scalar]) -> NDArray[Scalar]:
    """An array (N, C, H, W) as (N * C, H, W)."""
    num, channels, height, width = array.shape
    return array.reshape(num * channels, height, width)
