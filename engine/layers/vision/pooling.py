"""Pooling over the last two axes: maximum, average and stochastic."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.layers.vision.pool_windows import Pair, PoolWindows
from farlayer.engine.registry import register
from farlayer.protos import caffe_pb2

Array = NDArray[np.float32]
Numbers = NDArray[np.uint16]

_LOWEST = np.finfo(np.float32).min
_PART_VALUES = 1 << 18
"""Samples are pooled together while their images stay under this many values (1 MiB): every element of the kernel
passes over them once, and should find them in the cache (2.5 times as fast for 16 x 64 images of 112 x 112)."""
_MAX_KERNEL = 2**16 - 1  # element numbers are kept as uint16


@register("Pooling")
class PoolingLayer(Layer):
    """Reduces each window of an image to one value.

    bottom[0]: x, shape (N, C, H, W).
    top[0]: y, shape (N, C, pooled H, pooled W), sizes rounded up (round_mode FLOOR: down); with padding the last
        window is dropped where it would start behind the image.
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
        floor = param.round_mode == caffe_pb2.PoolingParameter.FLOOR
        self._windows = PoolWindows(
            self._read_kernel(), self._read_pair("stride", 1), self._read_pair("pad", 0), (1, 1), floor
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
        self._windows = replace(self._windows, size=size, kernel=kernel)
        pooled = self._windows.pooled
        if min(pooled) < 1:
            raise self.error(
                f"image size {size} is smaller than the kernel {kernel}",
                remedy="give larger bottoms, a smaller kernel or more padding",
            )
        if math.prod(kernel) > _MAX_KERNEL and self._method != caffe_pb2.PoolingParameter.AVE:
            raise self.error(
                f"kernel {kernel} has more than {_MAX_KERNEL} elements", remedy="pool in two steps, or with AVE"
            )
        for blob in top:
            blob.reshape(*shape[:2], *pooled)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        x, y = bottom[0].data, top[0].data
        chosen = self._chosen(y.shape)
        for part in self._parts(x.shape):
            if self._method == caffe_pb2.PoolingParameter.MAX:
                self._take_maxima(x[part], y[part], chosen[part])
            elif self._method == caffe_pb2.PoolingParameter.AVE:
                self._average(x[part], y[part])
            elif self.param.phase == caffe_pb2.TRAIN:
                self._draw(x[part], y[part], chosen[part])
            else:
                self._weighted_mean(x[part], y[part])
        if len(top) > 1:
            top[1].data[...] = self._windows.places(chosen)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if not propagate_down[0]:
            return
        if self._method == caffe_pb2.PoolingParameter.STOCHASTIC and self.param.phase != caffe_pb2.TRAIN:
            raise self.error("STOCHASTIC pooling has a gradient in TRAIN only", remedy="run backward in phase TRAIN")
        dx, dy = bottom[0].diff, top[0].diff
        chosen = self._chosen(dy.shape)
        for part in self._parts(dx.shape):
            if self._method == caffe_pb2.PoolingParameter.AVE:
                self._spread(dy[part], dx[part])
            else:
                self._route(dy[part], chosen[part], dx[part])

    # Maximum

    def _take_maxima(self, x: Array, y: Array, chosen: Numbers) -> None:
        y.fill(_LOWEST)
        chosen.fill(0)
        for number, inside, windows in self._windows.elements():
            best, picked = y[:, :, *windows], chosen[:, :, *windows]
            # Gathered first: what follows then runs over contiguous memory.
            source = self.scratch.array("source", best.shape)
            np.copyto(source, x[:, :, *inside])
            better = self.scratch.array_of("hit", best.shape, np.bool_)
            np.greater(source, best, out=better)
            np.fmax(best, source, out=best)
            # Numbers grow, so the later of two is the larger: a maximum does the work of a slow masked copy.
            numbers = self.scratch.array_of("numbers", best.shape, np.uint16)
            np.multiply(better.view(np.uint8), np.uint16(number), out=numbers)
            np.maximum(picked, numbers, out=picked)

    def _route(self, dy: Array, chosen: Numbers, dx: Array) -> None:
        """Gives the gradient of each window to the element that forward chose."""
        dx.fill(0)
        for number, inside, windows in self._windows.elements():
            picked = chosen[:, :, *windows]
            hit = self.scratch.array_of("hit", picked.shape, np.bool_)
            np.equal(picked, number, out=hit)
            share = self.scratch.array("share", picked.shape)
            np.multiply(dy[:, :, *windows], hit, out=share)
            dx[:, :, *inside] += share

    # Average

    def _average(self, x: Array, y: Array) -> None:
        # Sums along the rows, then of those sums down the columns: the kernel's sides add up instead of multiplying.
        sums = self.scratch.array("row sums", (*x.shape[:3], y.shape[3]))
        sums.fill(0)
        for inside, windows in self._windows.spans(1):
            sums[..., windows] += x[..., inside]
        y.fill(0)
        for inside, windows in self._windows.spans(0):
            y[:, :, windows] += sums[:, :, inside]
        y /= self._windows.areas()

    def _spread(self, dy: Array, dx: Array) -> None:
        """Gives every element of a window its share of the gradient."""
        share = self.scratch.array("share", dy.shape)
        np.divide(dy, self._windows.areas(), out=share)
        sums = self.scratch.array("row sums", (*dx.shape[:3], dy.shape[3]))
        sums.fill(0)
        for inside, windows in self._windows.spans(0):
            sums[:, :, inside] += share[:, :, windows]
        dx.fill(0)
        for inside, windows in self._windows.spans(1):
            dx[..., inside] += sums[..., windows]

    # Stochastic

    def _draw(self, x: Array, y: Array, chosen: Numbers) -> None:
        """Takes in each window the first value at which the running sum reaches a random share of the whole sum."""
        total = self.scratch.array("total", y.shape)
        total.fill(0)
        for _, inside, windows in self._windows.elements():
            total[:, :, *windows] += x[:, :, *inside]
        threshold = self.scratch.array("threshold", y.shape)
        self.context.rng.random(dtype=np.float32, out=threshold)
        threshold *= total
        total.fill(0)
        y.fill(0)
        chosen.fill(0)
        for number, inside, windows in self._windows.elements():
            source, running, picked = x[:, :, *inside], total[:, :, *windows], chosen[:, :, *windows]
            running += source
            now = (picked == 0) & (running >= threshold[:, :, *windows])
            np.copyto(y[:, :, *windows], source, where=now)
            np.copyto(picked, np.uint16(number), where=now)

    def _weighted_mean(self, x: Array, y: Array) -> None:
        total = self.scratch.array("total", y.shape)
        total.fill(np.finfo(np.float32).tiny)
        y.fill(0)
        for _, inside, windows in self._windows.elements():
            source = x[:, :, *inside]
            total[:, :, *windows] += source
            y[:, :, *windows] += source * source
        y /= total

    # Helpers

    def _parts(self, shape: tuple[int, ...]) -> Iterator[slice]:
        """The batch in parts of at most _PART_VALUES values, at least one sample each."""
        step = max(1, _PART_VALUES // max(math.prod(shape[1:]), 1))
        return (slice(start, start + step) for start in range(0, shape[0], step))

    def _chosen(self, shape: tuple[int, ...]) -> Numbers:
        """For each window the number of the kernel element that forward chose, from 1; 0 for none."""
        return self.scratch.array_of("chosen", shape, np.uint16)

    def _read_kernel(self) -> Pair:
        param = self.param.pooling_param
        by_side = param.HasField("kernel_h"), param.HasField("kernel_w")
        given = param.HasField("kernel_size")
        if param.global_pooling:
            if given or any(by_side):
                raise self.error("both a kernel size and global_pooling are given", remedy="keep one of them")
            return (1, 1)  # reshape knows the size of the image
        if given == all(by_side) or given == any(by_side):
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
