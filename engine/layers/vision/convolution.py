"""Convolution over any number of spatial axes."""

from __future__ import annotations

from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.vision.base_convolution import BaseConvolutionLayer
from farlayer.engine.registry import register


@register("Convolution")
class ConvolutionLayer(BaseConvolutionLayer):
    """Correlates each bottom with the same filters.

    bottom[i]: shape (sample axes..., channels, spatial axes...), channels along convolution_param.axis; all alike.
    top[i]: shape (sample axes..., num_output, output axes...), output = (size + 2 pad - extent) / stride + 1,
        rounded down, extent = dilation * (kernel - 1) + 1.
    params: filters (num_output, channels / group, kernel axes...) and biases, see the base.
    Source: Caffe, src/caffe/layers/conv_layer.cpp.
    """

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        filters = self.params[0].data
        for x, y in zip(bottom, top, strict=True):
            self._correlation.to_maps(self._samples(x.data), filters, self._biases(), self._samples(y.data))

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        filters = self.params[0]
        for y, wanted, x in zip(top, propagate_down, bottom, strict=True):
            dy = self._samples(y.diff)
            self._add_bias_gradient(dy)
            if self.param_propagate_down[0]:
                self._correlation.add_filter_gradient(self._samples(x.data), dy, filters.diff)
            if wanted:
                self._correlation.to_images(dy, filters.data, self._samples(x.diff))
