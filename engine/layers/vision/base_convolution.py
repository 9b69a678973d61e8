"""What Convolution and Deconvolution share: parameters, params, and the correlation that both are made of."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Layer
from farlayer.engine.layers.vision.correlation import Correlation, Geometry, unrolled_correlation
from farlayer.engine.layers.vision.spatial import read_window

Array = NDArray[np.float32]


class BaseConvolutionLayer(Layer):
    """Filters on each bottom; all bottoms have one shape.

    params[0]: filters, shape (maps, channels of the images / group, kernel axes...). The maps are the tops of a
        Convolution and the bottoms of a Deconvolution, the images the other way round.
    params[1]: biases, shape (num_output,), unless bias_term is false.
    force_nd_im2col has no effect: one code serves any number of spatial axes.
    Source: Caffe, src/caffe/layers/base_conv_layer.cpp.
    """

    min_num_bottom = 1
    min_num_top = 1
    equal_num_bottom_top = True
    is_transposed: ClassVar[bool] = False
    """Whether the bottoms are the maps and the tops the images."""

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.convolution_param
        self._axis = self.canonical_axis(param.axis, bottom[0], "convolution_param.axis")
        self._num_spatial = len(bottom[0].shape) - self._axis - 1
        self._window = read_window(self, param, self._num_spatial)
        self._channels = bottom[0].shape[self._axis]
        self._num_output = param.num_output
        self._group = self._read_group()
        self._bias_term = param.bias_term
        if self._num_output < 1:
            raise self.error("num_output is 0", remedy="set convolution_param.num_output to 1 or more")
        if self._channels < 1:
            raise self.error(
                f"bottom shape {bottom[0].shape} has no channels at axis {self._axis}",
                remedy="give it a blob with channels, or set convolution_param.axis",
            )
        if self._group < 1 or self._channels % self._group or self._num_output % self._group:
            raise self.error(
                f"group is {self._group}, but there are {self._channels} channels and {self._num_output} outputs",
                remedy="choose a group that divides both",
            )
        num_maps, channels = self._num_output, self._channels
        if self.is_transposed:
            num_maps, channels = channels, num_maps
        expected = [(num_maps, channels // self._group, *self._window.kernel), (self._num_output,)]
        expected = expected[: 1 + self._bias_term]
        self._geometry: Geometry | None = None
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
                    remedy=f"all bottoms of one {self.type_name} layer need the same shape",
                )
        self._num = math.prod(shape[: self._axis])
        geometry = self._geometry_for(shape[self._axis + 1 :])
        if geometry != self._geometry:
            self._geometry = geometry
            self._correlation = self._make_correlation(geometry)
        output = geometry.image if self.is_transposed else geometry.places
        for blob in top:
            blob.reshape(*shape[: self._axis], self._num_output, *output)

    def _geometry_for(self, spatial: tuple[int, ...]) -> Geometry:
        if self.is_transposed:
            image, places = self._window.image_shape(spatial), spatial
            channels, num_maps = self._num_output, self._channels
        else:
            image, places = spatial, self._window.output_shape(spatial)
            channels, num_maps = self._channels, self._num_output
        if any(size < 1 for size in (*places, *image)):
            window = f"(pad {self._window.pad}, dilation {self._window.dilation})"
            raise self.error(
                f"spatial shape {spatial} is smaller than the kernel {self._window.kernel} {window}",
                remedy="give larger bottoms, a smaller kernel or more padding",
            )
        return Geometry(self._num, channels, num_maps, self._group, image, places, self._window)

    def _read_group(self) -> int:
        return self.param.convolution_param.group

    def _make_correlation(self, geometry: Geometry) -> Correlation:
        return unrolled_correlation(geometry, self.workspace)

    def _samples(self, array: Array) -> Array:
        """A blob's array as (samples, channels, spatial axes...)."""
        return array.reshape(self._num, *array.shape[self._axis :])

    def _biases(self) -> Array | None:
        return self.params[1].data if self._bias_term else None

    def _add_bias_gradient(self, top_diff: Array) -> None:
        if self._bias_term and self.param_propagate_down[1]:
            diff = self.params[1].diff
            values = top_diff.reshape(self._num, self._num_output, math.prod(top_diff.shape[2:]))
            np.add(diff, np.einsum("nop->o", values), out=diff)
