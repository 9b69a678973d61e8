"""Convolution and its like by PyTorch: oneDNN's convolutions, and for 1x1 filters MKL's products."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from farlayer.engine.kernels.torch_tensors import tensor
from farlayer.engine.layers.vision.base_convolution import BaseConvolutionLayer
from farlayer.engine.layers.vision.convolution import ConvolutionLayer
from farlayer.engine.layers.vision.correlation import Correlation, Geometry
from farlayer.engine.layers.vision.deconvolution import DeconvolutionLayer
from farlayer.engine.layers.vision.depthwise_convolution import DepthwiseConvolutionLayer

Array = NDArray[np.float32]

_MAX_SPATIAL = 3  # axes that aten's convolutions know


class _TorchFilters(BaseConvolutionLayer):
    """Has the correlation computed by PyTorch; of more axes than that knows, and of an empty batch, by NumPy."""

    def _make_correlation(self, geometry: Geometry) -> Correlation:
        if not geometry.num or not 1 <= len(geometry.image) <= _MAX_SPATIAL:
            return super()._make_correlation(geometry)
        if geometry.window.is_identity and geometry.group == 1:
            return PointwiseCorrelation(geometry)
        return AtenCorrelation(geometry)


class TorchConvolutionLayer(_TorchFilters, ConvolutionLayer):
    """Convolution by PyTorch."""


class TorchDepthwiseConvolutionLayer(_TorchFilters, DepthwiseConvolutionLayer):
    """DepthwiseConvolution by PyTorch."""


class TorchDeconvolutionLayer(_TorchFilters, DeconvolutionLayer):
    """Deconvolution by PyTorch."""


class AtenCorrelation:
    """Correlation by aten's convolution, which makes its results anew: they are copied into the blobs."""

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry
        window = geometry.window
        self._steps = list(window.stride), list(window.pad), list(window.dilation)
        # What the windows leave over at the far edge of the images.
        whole = window.image_shape(geometry.places)
        self._rest = [size - used for size, used in zip(geometry.image, whole, strict=True)]

    def to_maps(self, images: Array, filters: Array, biases: Array | None, maps: Array) -> None:
        """See Correlation."""
        bias = None if biases is None else tensor(biases)
        no_rest = [0] * len(self._rest)
        result = torch.ops.aten.convolution(
            tensor(images), tensor(filters), bias, *self._steps, False, no_rest, self._geometry.group
        )
        tensor(maps).copy_(result)

    def to_images(self, maps: Array, filters: Array, images: Array) -> None:
        """See Correlation."""
        result = torch.ops.aten.convolution(
            tensor(maps), tensor(filters), None, *self._steps, True, self._rest, self._geometry.group
        )
        tensor(images).copy_(result)

    def add_filter_gradient(self, images: Array, maps: Array, gradient: Array) -> None:
        """See Correlation."""
        total = tensor(gradient)
        no_rest = [0] * len(self._rest)
        # The filters count by their shape alone where only their gradient is asked for.
        _, share, _ = torch.ops.aten.convolution_backward(
            tensor(maps),
            tensor(images),
            total,
            None,
            *self._steps,
            False,
            no_rest,
            self._geometry.group,
            [False, True, False],
        )
        total.add_(share)


class PointwiseCorrelation:
    """Correlation with 1x1 filters in one group: products of matrices, computed in the blobs themselves."""

    def __init__(self, geometry: Geometry) -> None:
        self._images = (geometry.num, geometry.channels, geometry.num_places)
        self._maps = (geometry.num, geometry.num_maps, geometry.num_places)
        self._filters = (geometry.num_maps, geometry.channels)

    def to_maps(self, images: Array, filters: Array, biases: Array | None, maps: Array) -> None:
        """See Correlation."""
        every = tensor(filters, 1, *self._filters).expand(self._images[0], -1, -1)
        if biases is None:
            torch.bmm(every, tensor(images, *self._images), out=tensor(maps, *self._maps))
        else:
            bias = tensor(biases, 1, -1, 1)
            torch.baddbmm(bias, every, tensor(images, *self._images), out=tensor(maps, *self._maps))

    def to_images(self, maps: Array, filters: Array, images: Array) -> None:
        """See Correlation."""
        every = tensor(filters, 1, *self._filters).expand(self._images[0], -1, -1)
        torch.bmm(every.transpose(1, 2), tensor(maps, *self._maps), out=tensor(images, *self._images))

    def add_filter_gradient(self, images: Array, maps: Array, gradient: Array) -> None:
        """See Correlation."""
        transposed = tensor(images, *self._images).transpose(1, 2)
        tensor(gradient, *self._filters).addbmm_(tensor(maps, *self._maps), transposed)
