"""Deconvolution: the transpose of Convolution, over any number of spatial axes."""

from __future__ import annotations

import numpy as np

from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.vision.base_convolution import BaseConvolutionLayer
from farlayer.engine.registry import register


@register("Deconvolution")
class DeconvolutionLayer(BaseConvolutionLayer):
    """Puts the filters down at every place of each bottom, weighted with its value there, and sums what overlaps.

    bottom[i]: shape (sample axes..., channels, spatial axes...), channels along convolution_param.axis; all alike.
    top[i]: shape (sample axes..., num_output, output axes...), output = stride * (size - 1) + extent - 2 pad,
        extent = dilation * (kernel - 1) + 1.
    params: filters (channels, num_output / group, kernel axes...) and biases, see the base.
    Forward is what Convolution's backward does to its bottom, and the other way round.
    Source: Caffe, src/caffe/layers/deconv_layer.cpp.
    """

    is_transposed = True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        filters, biases = self.params[0].data, self._biases()
        for x, y in zip(bottom, top, strict=True):
            result = self._samples(y.data)
            self._correlation.to_images(self._samples(x.data), filters, result)
            if biases is not None:
                np.add(result, biases.reshape(-1, *(1,) * self._num_spatial), out=result)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        filters = self.params[0]
        for y, wanted, x in zip(top, propagate_down, bottom, strict=True):
            dy = self._samples(y.diff)
            self._add_bias_gradient(dy)
            if self.param_propagate_down[0]:
                self._correlation.add_filter_gradient(dy, self._samples(x.data), filters.diff)
            if wanted:
                self._correlation.to_maps(dy, filters.data, None, self._samples(x.diff))
