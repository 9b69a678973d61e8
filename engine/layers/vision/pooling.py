"""Pooling over the last two axes: maximum, average and stochastic."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.registry import register
from farlayer.protos import caffe_pb2

Array = NDArray[np.float32]
_LOWEST = np.finfo(np.float32).min


@dataclass(frozen=True)
class _Window:
    """Kernel, stride and padding, height first."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]


@register("Pooling")
class PoolingLayer(Layer):
    """Reduces each window of an image to one value.

    bottom[0]: x, shape (N, C, H, W).
    top[0]: y, shape (N, C, pooled H, pooled W), sizes rounded up (round_mode FLOOR: down); with padding the last
        window is dropped where it would start in the padding.
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
        if len(bottom[0].shape) != 4:
            raise self.error(
                f"bottom shape {bottom[0].shape} has {len(bottom[0].shape)} axes, expected 4 (N, C, H, W)",
                remedy="reshape the blob to 4 axes first",
            )
        kernel = self._read_kernel()
        pad = self._read_pair("pad", 0)
        stride = self._read_pair("stride", 1)
        if any(value < 1 for value in (*stride, *kernel)):
            raise self.error(f"kernel {kernel} or stride {stride} is 0", remedy="set both to 1 or more")
        if param.global_pooling and (any(pad) or stride != (1, 1)):
            raise self.error(f"global_pooling with pad {pad} and stride {stride}", remedy="leave pad and stride out")
        if any(pad) and self._method == caffe_pb2.PoolingParameter.STOCHASTIC:
            raise self.error("padding is given, but pool is STOCHASTIC", remedy="use MAX or AVE, or no padding")
        if any(p >= k for p, k in zip(pad, kernel, strict=True)) and any(pad):
            raise self.error(f"pad {pad} is not smaller than the kernel {kernel}", remedy="use less padding")
        self._window = _Window(kernel, stride, pad)

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        shape = bottom[0].shape
        if len(shape) != 4:
            raise self.error(f"bottom shape {shape} has {len(shape)} axes, expected 4 (N, C, H, W)")
        self._size = shape[2:]
        if self.param.pooling_param.global_pooling:
            self._window = _Window((shape[2], shape[3]), (1, 1), (0, 0))
        pooled = tuple(self._pooled(axis) for axis in (0, 1))
        if any(size < 1 for size in pooled):
            raise self.error(
                f"image size {self._size} is smaller than the kernel {self._window.kernel}",
                remedy="give larger bottoms, a smaller kernel or more padding",
            )
        for blob in top:
            blob.reshape(*shape[:2], *pooled)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        x, y = bottom[0].data, top[0].data
        if self._method == caffe_pb2.PoolingParameter.MAX:
            self._forward_max(x, y)
            if len(top) > 1:
                self._write_mask(y.shape, top[1].data)
        elif self._method == caffe_pb2.PoolingParameter.AVE:
            self._forward_average(x, y)
        else:
            self._forward_stochastic(x, y)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if not propagate_down[0]:
            return
        dx, dy = bottom[0].diff, top[0].diff
        if self._method == caffe_pb2.PoolingParameter.AVE:
            self._backward_average(dy, dx)
            return
        if self._method == caffe_pb2.PoolingParameter.STOCHASTIC and self.param.phase != caffe_pb2.TRAIN:
            raise self.error("STOCHASTIC pooling has a gradient in TRAIN only", remedy="run backward in phase TRAIN")
        dx.fill(0)
        chosen = self._chosen(dy.shape)
        for number, target, picked, source in self._places(dx, chosen, dy):
            hit = self.scratch.array_of("hit", picked.shape, np.bool_)
            np.equal(picked, number, out=hit)
            part = self.scratch.array("share", picked.shape)
            np.multiply(source, hit, out=part)
            np.add(target, part, out=target)

    # Reading the parameters

    def _read_kernel(self) -> tuple[int, int]:
        param = self.param.pooling_param
        by_side = param.HasField("kernel_h"), param.HasField("kernel_w")
        given = param.HasField("kernel_size")
        if param.global_pooling:
            if given or any(by_side):
                raise self.error("both a kernel size and global_pooling are given", remedy="keep one of them")
            # At setup the bottom's size is not needed yet: reshape sets the kernel.
            return (1, 1)
        if given == all(by_side) or given == any(by_side):
            raise self.error(
                "the kernel must be given either by kernel_size or by both kernel_h and kernel_w",
                remedy="give one of the two forms",
            )
        return (param.kernel_size,) * 2 if given else (param.kernel_h, param.kernel_w)

    def _read_pair(self, field: str, default: int) -> tuple[int, int]:
        param = self.param.pooling_param
        given = _field(param, field)
        height, width = _field(param, f"{field}_h"), _field(param, f"{field}_w")
        if height is None and width is None:
            value = default if given is None else given
            return (value, value)
        if given is not None or height is None or width is None:
            raise self.error(
                f"{field} must be given either by {field} or by both {field}_h and {field}_w",
                remedy="give one of the two forms",
            )
        return (height, width)

    # Geometry

    def _pooled(self, axis: int) -> int:
        """How many windows there are along an axis."""
        size, kernel = self._size[axis], self._window.kernel[axis]
        stride, pad = self._window.stride[axis], self._window.pad[axis]
        rounding = math.floor if self.param.pooling_param.round_mode == caffe_pb2.PoolingParameter.FLOOR else math.ceil
        pooled = rounding((size + 2 * pad - kernel) / stride) + 1
        if any(self._window.pad) and (pooled - 1) * stride >= size + pad:
            pooled -= 1
        return pooled

    def _offsets(self, pooled: tuple[int, ...]) -> Iterator[tuple[int, tuple[slice, slice], tuple[slice, slice]]]:
        """For each element of the kernel: its number, the places of x that it falls on, and their windows."""
        kernel = self._window.kernel
        for row, column in itertools.product(range(kernel[0]), range(kernel[1])):
            rows = self._span(0, row, pooled[0])
            columns = self._span(1, column, pooled[1])
            if rows is not None and columns is not None:
                yield row * kernel[1] + column, (rows[0], columns[0]), (rows[1], columns[1])

    def _spans(self, axis: int, pooled: int) -> Iterator[tuple[slice, slice]]:
        spans = (self._span(axis, offset, pooled) for offset in range(self._window.kernel[axis]))
        return (span for span in spans if span is not None)

    def _span(self, axis: int, offset: int, pooled: int) -> tuple[slice, slice] | None:
        """The windows along an axis whose element at `offset` lies inside the image, and where it lies there."""
        stride, shift = self._window.stride[axis], offset - self._window.pad[axis]
        first = max(0, -(shift // stride))
        last = min(pooled - 1, (self._size[axis] - 1 - shift) // stride)
        if last < first:
            return None
        start = first * stride + shift
        return slice(start, last * stride + shift + 1, stride), slice(first, last + 1)

    def _places(
        self, image: Array, first: NDArray[np.int32], second: Array
    ) -> Iterator[tuple[int, Array, NDArray[np.int32], Array]]:
        for number, inside, windows in self._offsets(second.shape[2:]):
            at = (slice(None), slice(None), *windows)
            yield number, image[:, :, inside[0], inside[1]], first[at], second[at]

    def _chosen(self, shape: tuple[int, ...]) -> NDArray[np.int32]:
        """For each window the number of the kernel element that forward chose; -1 for none."""
        return self.scratch.array_of("chosen", shape, np.int32)

    def _window_sizes(self, shape: tuple[int, ...]) -> Array:
        """What AVE divides by, for each window: its extent inside the padded image."""
        extents = []
        for axis in (0, 1):
            starts = np.arange(shape[2 + axis]) * self._window.stride[axis] - self._window.pad[axis]
            ends = np.minimum(starts + self._window.kernel[axis], self._size[axis] + self._window.pad[axis])
            # A window that lies wholly outside is empty: its sum of 0 is divided by 1.
            extents.append(np.maximum(ends - starts, 1))
        return np.outer(*extents).astype(np.float32)

    # The methods

    def _forward_average(self, x: Array, y: Array) -> None:
        # Sums along the rows, then of those sums down the columns: the kernel's sides add up instead of multiplying.
        sums = self.scratch.array("row sums", (*x.shape[:3], y.shape[3]))
        sums.fill(0)
        for inside, windows in self._spans(1, y.shape[3]):
            sums[..., windows] += x[..., inside]
        y.fill(0)
        for inside, windows in self._spans(0, y.shape[2]):
            y[:, :, windows] += sums[:, :, inside]
        y /= self._window_sizes(y.shape)

    def _backward_average(self, dy: Array, dx: Array) -> None:
        share = self.scratch.array("share", dy.shape)
        np.divide(dy, self._window_sizes(dy.shape), out=share)
        sums = self.scratch.array("row sums", (*dx.shape[:3], dy.shape[3]))
        sums.fill(0)
        for inside, windows in self._spans(0, dy.shape[2]):
            sums[:, :, inside] += share[:, :, windows]
        dx.fill(0)
        for inside, windows in self._spans(1, dy.shape[3]):
            dx[..., inside] += sums[..., windows]

    def _forward_max(self, x: Array, y: Array) -> None:
        chosen = self._chosen(y.shape)
        chosen.fill(-1)
        y.fill(_LOWEST)
        for number, source, picked, target in self._places(x, chosen, y):
            better = self.scratch.array_of("hit", target.shape, np.bool_)
            np.greater(source, target, out=better)
            np.copyto(target, source, where=better)
            np.copyto(picked, np.int32(number), where=better)

    def _write_mask(self, shape: tuple[int, ...], mask: Array) -> None:
        chosen = self._chosen(shape)
        kernel, stride, pad = self._window.kernel, self._window.stride, self._window.pad
        rows = np.arange(shape[2]).reshape(-1, 1) * stride[0] - pad[0] + chosen // kernel[1]
        columns = np.arange(shape[3]) * stride[1] - pad[1] + chosen % kernel[1]
        mask[...] = np.where(chosen < 0, -1, rows * self._size[1] + columns)

    def _forward_stochastic(self, x: Array, y: Array) -> None:
        if self.param.phase == caffe_pb2.TRAIN:
            self._draw(x, y)
            return
        total = self.scratch.array("total", y.shape)
        total.fill(np.finfo(np.float32).tiny)
        y.fill(0)
        for _, inside, windows in self._offsets(y.shape[2:]):
            source = x[:, :, inside[0], inside[1]]
            total[:, :, windows[0], windows[1]] += source
            y[:, :, windows[0], windows[1]] += source * source
        y /= total

    def _draw(self, x: Array, y: Array) -> None:
        """Takes in each window the first value at which the running sum reaches a random share of the whole sum."""
        total = self.scratch.array("total", y.shape)
        total.fill(0)
        for _, inside, windows in self._offsets(y.shape[2:]):
            total[:, :, windows[0], windows[1]] += x[:, :, inside[0], inside[1]]
        threshold = self.scratch.array("threshold", y.shape)
        self.context.rng.random(dtype=np.float32, out=threshold)
        threshold *= total
        chosen = self._chosen(y.shape)
        chosen.fill(-1)
        total.fill(0)
        y.fill(0)
        for number, inside, windows in self._offsets(y.shape[2:]):
            at = (slice(None), slice(None), *windows)
            source = x[:, :, inside[0], inside[1]]
            total[at] += source
            now = (chosen[at] < 0) & (total[at] >= threshold[at])
            np.copyto(y[at], source, where=now)
            np.copyto(chosen[at], np.int32(number), where=now)


def _field(param: caffe_pb2.PoolingParameter, field: str) -> int | None:
    """The value of an optional field; None where it is not given."""
    readers: dict[str, Callable[[], int]] = {
        "pad": lambda: param.pad,
        "pad_h": lambda: param.pad_h,
        "pad_w": lambda: param.pad_w,
        "stride": lambda: param.stride,
        "stride_h": lambda: param.stride_h,
        "stride_w": lambda: param.stride_w,
    }
    given = {descriptor.name for descriptor, _ in param.ListFields()}
    return readers[field]() if field in given else None
