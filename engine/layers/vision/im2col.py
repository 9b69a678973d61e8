"""Im2col: the windows of an image as the columns of a matrix, as Convolution multiplies them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.layers.vision.spatial import read_window
from farlayer.engine.layers.vision.unrolling import col2im, im2col, interior
from farlayer.engine.registry import register

Array = NDArray[np.float32]


@register("Im2col")
class Im2colLayer(Layer):
    """Gives each element of the kernel a channel of its own.

    bottom[0]: shape (sample axes..., channels, spatial axes...), channels along convolution_param.axis.
    top[0]: shape (sample axes..., channels * kernel elements, output axes...), sizes as those of Convolution. Channel
        c * elements + e holds what element e of the kernel sees in channel c.
    Of convolution_param, kernel, stride, pad, dilation and axis count.
    Source: Caffe, src/caffe/layers/im2col_layer.cpp.
    """

    exact_num_bottom = 1
    exact_num_top = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.convolution_param
        self._axis = self.canonical_axis(param.axis, bottom[0], "convolution_param.axis")
        self._num_spatial = len(bottom[0].shape) - self._axis - 1
        if self._num_spatial < 1:
            raise self.error(
                f"bottom shape {bottom[0].shape} has no spatial axes behind axis {self._axis}",
                remedy="give it a blob with spatial axes, or set convolution_param.axis",
            )
        self._window = read_window(self, param, self._num_spatial)

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        shape = bottom[0].shape
        if len(shape) != self._axis + 1 + self._num_spatial:
            raise self.error(
                f"bottom shape {shape} has {len(shape)} axes, had {self._axis + 1 + self._num_spatial} before",
                remedy="only sizes may change between calls",
            )
        channels, spatial = shape[self._axis], shape[self._axis + 1 :]
        self._output = self._window.output_shape(spatial)
        if any(size < 1 for size in self._output):
            raise self.error(
                f"spatial shape {spatial} is smaller than the kernel {self._window.kernel} "
                f"(pad {self._window.pad}, dilation {self._window.dilation})",
                remedy="give larger bottoms, a smaller kernel or more padding",
            )
        top[0].reshape(*shape[: self._axis], channels * math.prod(self._window.kernel), *self._output)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        for image, columns in self._samples(bottom[0].data, top[0].data):
            padded = self._padded(image.shape)
            padded.fill(0)
            np.copyto(interior(padded, self._window, image.shape[2:]), image)
            im2col(padded, self._window, columns)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if not propagate_down[0]:
            return
        for image, columns in self._samples(bottom[0].diff, top[0].diff):
            padded = self._padded(image.shape)
            padded.fill(0)
            col2im(columns, self._window, padded)
            np.copyto(image, interior(padded, self._window, image.shape[2:]))

    def _samples(self, images: Array, columns: Array) -> Iterator[tuple[Array, Array]]:
        """For each sample its image, (1, channels, spatial axes...), and columns as `im2col` wants them."""
        shape = images.shape[self._axis :]
        num = math.prod(images.shape[: self._axis])
        by_kernel = columns.reshape(num, 1, shape[0], *self._window.kernel, *self._output)
        return zip(images.reshape(num, 1, *shape), by_kernel, strict=True)

    def _padded(self, shape: tuple[int, ...]) -> Array:
        return self.workspace.array("padded", (*shape[:2], *self._window.padded_shape(shape[2:])))
