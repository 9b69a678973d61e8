"""SPP: spatial pyramid pooling, which turns images of any size into vectors of one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from farlayer.blobs.blob import Blob
from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.registry import create_layer, register
from farlayer.protos import caffe_pb2

Array = NDArray[np.float32]


@register("SPP")
class SPPLayer(Layer):
    """Pools an image into 1, 4, 16, ... bins, level by level.

    bottom[0]: x, shape (N, C, H, W).
    top[0]: shape (N, C * (1 + 4 + ... + 4^(pyramid_height - 1))): for each level its pooled images, one after the
        other. With a pyramid_height of 1: (N, C, 1, 1).
    Level i is a Pooling (spp_param.pool) with kernel = stride = ceil(size / 2^i) and pad = half of what the bins are
    larger than the image, rounded up. STOCHASTIC therefore needs sizes that 2^i divides.
    Differs from Caffe: STOCHASTIC in a TEST net is the weighted mean, as in Pooling; Caffe draws there, too.
    Source: Caffe, src/caffe/layers/spp_layer.cpp.
    """

    exact_num_bottom = 1
    exact_num_top = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        self._height = self.param.spp_param.pyramid_height
        if self._height < 1:
            raise self.error("pyramid_height is 0", remedy="set spp_param.pyramid_height to 1 or more")
        self._shape: tuple[int, ...] = ()
        self._levels: list[Layer] = []
        self._pooled = [Blob() for _ in range(self._height)]
        # Backward of a pooling sets the diff: those of the upper levels go here first, and are then added.
        self._shadow = Blob()

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        shape = bottom[0].shape
        if len(shape) != 4:
            raise self.error(
                f"bottom shape {shape} has {len(shape)} axes, expected 4 (N, C, H, W)",
                remedy="reshape the blob to 4 axes first",
            )
        if shape[2:] != self._shape[2:]:
            self._levels = [self._pooling(level, shape[2:]) for level in range(self._height)]
            for layer, pooled in zip(self._levels, self._pooled, strict=True):
                layer.run_setup(bottom, [pooled])
        self._shape = shape
        for layer, pooled in zip(self._levels, self._pooled, strict=True):
            layer.reshape(bottom, [pooled])
        if self._height == 1:
            top[0].reshape(self._pooled[0].shape)
        else:
            top[0].reshape(shape[0], shape[1] * sum(pooled.shape[2] * pooled.shape[3] for pooled in self._pooled))

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        for layer, pooled, part in self._parts(top[0].data):
            layer.forward(bottom, [pooled])
            np.copyto(part, pooled.data.reshape(part.shape))

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if not propagate_down[0]:
            return
        self._shadow.reshape(bottom[0].shape)
        self._shadow.share_data(bottom[0])
        for level, (layer, pooled, part) in enumerate(self._parts(top[0].diff)):
            np.copyto(pooled.diff.reshape(part.shape), part)
            if level == 0:
                layer.backward([pooled], [True], bottom)
            else:
                layer.backward([pooled], [True], [self._shadow])
                np.add(bottom[0].diff, self._shadow.diff, out=bottom[0].diff)

    def _parts(self, top: Array) -> list[tuple[Layer, Blob, Array]]:
        """For each level its layer, its pooled blob and its part of a top."""
        rows = top.reshape(top.shape[0], -1) if top.size else top.reshape(top.shape[0], 0)
        sizes = [0 if not top.size else pooled.count // top.shape[0] for pooled in self._pooled]
        ends = np.cumsum(sizes)
        return [
            (layer, pooled, rows[:, end - size : end])
            for layer, pooled, size, end in zip(self._levels, self._pooled, sizes, ends, strict=True)
        ]

    def _pooling(self, level: int, image: tuple[int, ...]) -> Layer:
        bins = 2**level
        kernel = tuple(-(-size // bins) for size in image)
        pad = tuple((side * bins - size + 1) // 2 for side, size in zip(kernel, image, strict=True))
        if any(p and p >= k for p, k in zip(pad, kernel, strict=True)):
            raise self.error(
                f"image size {image} is too small for {bins} x {bins} bins",
                remedy="give larger bottoms, or a smaller pyramid_height",
            )
        param = caffe_pb2.LayerParameter(name=self.name, type="Pooling", phase=self.param.phase)
        pooling = param.pooling_param
        pooling.pool = caffe_pb2.PoolingParameter.PoolMethod.Value(
            caffe_pb2.SPPParameter.PoolMethod.Name(self.param.spp_param.pool)
        )
        pooling.kernel_h, pooling.kernel_w = pooling.stride_h, pooling.stride_w = kernel
        pooling.pad_h, pooling.pad_w = pad
        return create_layer(param, self.context)
