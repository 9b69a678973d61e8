"""Convolution over any number of spatial axes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.layers.vision.im2col import col2im, im2col, interior, padded_shape
from farlayer.engine.layers.vision.spatial import read_window
from farlayer.engine.registry import register

Array = NDArray[np.float32]

_CHUNK_VALUES = 1 << 20
"""Samples are unrolled together while their columns stay under this many values (4 MiB): beyond the caches one large
product gains nothing over one for each sample, and memory would grow with the batch."""


@register("Convolution")
class ConvolutionLayer(Layer):
    """Correlates each bottom with the same filters: unrolled windows times one matrix of weights.

    bottom[i]: shape (sample axes..., channels, spatial axes...), channels along convolution_param.axis; all alike.
    top[i]: shape (sample axes..., num_output, output axes...), output = (size + 2 pad - extent) / stride + 1,
        rounded down, extent = dilation * (kernel - 1) + 1.
    params[0]: weights, shape (num_output, channels / group, kernel axes...).
    params[1]: biases, shape (num_output,), unless bias_term is false.
    force_nd_im2col has no effect: one code serves any number of axes.
    Source: Caffe, src/caffe/layers/base_conv_layer.cpp, conv_layer.cpp.
    """

    min_num_bottom = 1
    min_num_top = 1
    equal_num_bottom_top = True

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.convolution_param
        self._axis = self.canonical_axis(param.axis, bottom[0], "convolution_param.axis")
        self._num_spatial = len(bottom[0].shape) - self._axis - 1
        self._window = read_window(self, param, self._num_spatial)
        self._channels = bottom[0].shape[self._axis]
        self._num_output = param.num_output
        self._group = param.group
        self._bias_term = param.bias_term
        if self._num_output < 1:
            raise self.error("num_output is 0", remedy="set convolution_param.num_output to 1 or more")
        if self._group < 1 or self._channels % self._group or self._num_output % self._group:
            raise self.error(
                f"group is {self._group}, but there are {self._channels} channels and {self._num_output} outputs",
                remedy="choose a group that divides both",
            )
        weight_shape = (self._num_output, self._channels // self._group, *self._window.kernel)
        expected = [weight_shape, (self._num_output,)][: 1 + self._bias_term]
        self.make_params(expected, [param.weight_filler, param.bias_filler][: len(expected)])

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        shape = bottom[0].shape
        if len(shape) != self._axis + 1 + self._num_spatial or shape[self._axis] != self._channels:
            raise self.error(
                f"bottom shape {shape} does not fit the filters: expected {self._channels} channels at axis "
                f"{self._axis} and {self._num_spatial} spatial axes after it",
                remedy="only sample and spatial sizes may change between calls",
            )
        for index, blob in enumerate(bottom):
            if blob.shape != shape:
                raise self.error(
                    f"bottom {index} has shape {blob.shape}, bottom 0 has {shape}",
                    remedy="all bottoms of one Convolution layer need the same shape",
                )
        self._num = math.prod(shape[: self._axis])
        self._spatial = shape[self._axis + 1 :]
        self._output = self._window.output_shape(self._spatial)
        if any(size < 1 for size in self._output):
            raise self.error(
                f"spatial shape {self._spatial} is smaller than the kernel {self._window.kernel} "
                f"(pad {self._window.pad}, dilation {self._window.dilation})",
                remedy="give larger bottoms, a smaller kernel or more padding",
            )
        for blob in top:
            blob.reshape(*shape[: self._axis], self._num_output, *self._output)
        self._places = math.prod(self._output)
        self._kernel_values = self._channels // self._group * math.prod(self._window.kernel)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        weights = self._weight_matrices(self.params[0].data)
        bias = self.params[1].data.reshape(self._num_output, 1, 1) if self._bias_term else None
        for bottom_blob, top_blob in zip(bottom, top, strict=True):
            x = self._samples(bottom_blob.data, self._channels)
            y = self._samples(top_blob.data, self._num_output).reshape(self._num, self._num_output, self._places)
            for part in self._parts():
                size = part.stop - part.start
                columns = self._unroll(x[part])
                out = self.scratch.array("out", (self._group, self._num_output // self._group, columns.shape[2]))
                np.matmul(weights, columns, out=out)
                result = out.reshape(self._num_output, self._places, size)
                if bias is not None:
                    np.add(result, bias, out=result)
                y[part] = np.moveaxis(result, -1, 0)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        weights = self._weight_matrices(self.params[0].data)
        weights_diff = self._weight_matrices(self.params[0].diff)
        want_weights = self.param_propagate_down[0]
        want_bias = self._bias_term and self.param_propagate_down[1]
        for index, (top_blob, bottom_blob) in enumerate(zip(top, bottom, strict=True)):
            if not (want_weights or want_bias or propagate_down[index]):
                continue
            x = self._samples(bottom_blob.data, self._channels)
            dy = self._samples(top_blob.diff, self._num_output)
            if want_bias:
                bias_diff = self.params[1].diff
                bias_diff += dy.reshape(self._num, self._num_output, self._places).sum(axis=(0, 2))
            for part in self._parts():
                dy_matrices = self._sample_last(dy[part], "dy", self._num_output)
                if want_weights:
                    columns = self._unroll(x[part])
                    gradient = self.scratch.array("gradient", weights.shape)
                    np.matmul(dy_matrices, columns.swapaxes(1, 2), out=gradient)
                    np.add(weights_diff, gradient, out=weights_diff)
                if propagate_down[index]:
                    dx = self._samples(bottom_blob.diff, self._channels)
                    self._fold(np.matmul(weights.swapaxes(1, 2), dy_matrices, out=self._columns(part)), dx[part])

    def _parts(self) -> Iterator[slice]:
        """The batch in parts whose columns fit the bound, at least one sample each."""
        values = self._group * self._kernel_values * self._places
        step = max(1, _CHUNK_VALUES // max(values, 1))
        for start in range(0, self._num, step):
            yield slice(start, min(start + step, self._num))

    def _samples(self, array: Array, channels: int) -> Array:
        """A blob's array as (samples, channels, spatial axes...)."""
        return array.reshape(self._num, channels, *array.shape[self._axis + 1 :])

    def _weight_matrices(self, array: Array) -> Array:
        """The filters as one matrix a group: (group, outputs of it, kernel values)."""
        return array.reshape(self._group, self._num_output // self._group, self._kernel_values)

    def _columns(self, part: slice) -> Array:
        size = part.stop - part.start
        return self.scratch.array("columns", (self._group, self._kernel_values, self._places * size))

    def _sample_last(self, samples: Array, name: str, channels: int) -> Array:
        """Samples (n, channels, axes...) as one matrix a group, the sample axis innermost; a copy unless n is 1."""
        size = samples.shape[0]
        moved = np.moveaxis(samples, 0, -1)
        if size > 1:
            copy = self.scratch.array(name, moved.shape)
            np.copyto(copy, moved)
            moved = copy
        return moved.reshape(self._group, channels // self._group, -1)

    def _unroll(self, samples: Array) -> Array:
        """The windows of samples (n, channels, spatial axes...) as columns: (group, kernel values, places * n)."""
        if self._window.is_identity:
            return self._sample_last(samples, "x", self._channels)
        size = samples.shape[0]
        padded = np.moveaxis(samples, 0, -1)
        if size > 1 or any(self._window.pad):
            padded = self._padded(size)
            if any(self._window.pad):
                padded.fill(0)
            interior(padded, self._window)[...] = np.moveaxis(samples, 0, -1)
        columns = self._columns(slice(0, size))
        im2col(padded, self._window, self._by_kernel(columns, size))
        return columns

    def _fold(self, columns: Array, samples: Array) -> None:
        """Sums columns into the places of samples that they came from: the transpose of `_unroll`."""
        size = samples.shape[0]
        if self._window.is_identity:
            samples[...] = np.moveaxis(columns.reshape(self._channels, *self._spatial, size), -1, 0)
            return
        padded = self._padded(size)
        col2im(self._by_kernel(columns, size), self._window, padded)
        samples[...] = np.moveaxis(interior(padded, self._window), -1, 0)

    def _padded(self, size: int) -> Array:
        return self.scratch.array("padded", (self._channels, *padded_shape(self._spatial, self._window), size))

    def _by_kernel(self, columns: Array, size: int) -> Array:
        return columns.reshape(self._channels, *self._window.kernel, *self._output, size)
