"""Convolution and its like by PyTorch: oneDNN's convolutions, and for 1x1 filters MKL's products."""

from __future__ import annotations

import math
from collections.abc import Iterator

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
_PART_VALUES = 1 << 21
"""So many values (8 MiB) of images and maps are given to aten at a time: it takes about as much memory meanwhile, and
larger pieces would come fresh from the system each time (15,000 page faults, 18 ms, in one forward of GoogLeNet)."""


class _TorchFilters(BaseConvolutionLayer):
    """Has the correlation computed by PyTorch; what that does not know by NumPy.

    That is more axes, an empty batch, and a kernel larger than the padded image.
    """

    def _make_correlation(self, geometry: Geometry) -> Correlation:
        window, image = geometry.window, geometry.image
        fits = window.image_shape(geometry.places)
        too_large = any(needed > size for needed, size in zip(fits, image, strict=True))
        if not geometry.num or not 1 <= len(image) <= _MAX_SPATIAL or too_large:
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
        self._no_rest = [0] * len(window.stride)
        # What the windows leave over at the far edge of the images.
        whole = window.image_shape(geometry.places)
        self._rest = [size - used for size, used in zip(geometry.image, whole, strict=True)]
        values = geometry.channels * math.prod(geometry.image) + geometry.num_maps * geometry.num_places
        self._samples = max(1, _PART_VALUES // values)

    def to_maps(self, images: Array, filters: Array, biases: Array | None, maps: Array) -> None:
        """See Correlation."""
        weights, bias = tensor(filters), None if biases is None else tensor(biases)
        for part, result in self._parts(images, maps):
            result.copy_(self._convolve(part, weights, bias, transposed=False))

    def to_images(self, maps: Array, filters: Array, images: Array) -> None:
        """See Correlation."""
        weights = tensor(filters)
        for result, part in self._parts(images, maps):
            result.copy_(self._convolve(part, weights, None, transposed=True))

    def _convolve(
        self, source: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor | None, *, transposed: bool
    ) -> torch.Tensor:
        rest = self._rest if transposed else self._no_rest
        result: torch.Tensor = torch.ops.aten.convolution(
            source, weights, bias, *self._steps, transposed, rest, self._geometry.group
        )
        return result

    def add_filter_gradient(self, images: Array, maps: Array, gradient: Array) -> None:
        """See Correlation."""
        total = tensor(gradient)
        wanted = [False, True, False]
        for part, weights in self._parts(images, maps):
            # Of the filters only the shape counts here, so their gradient can stand for them.
            _, share, _ = torch.ops.aten.convolution_backward(
                weights, part, total, None, *self._steps, False, self._no_rest, self._geometry.group, wanted
            )
            total.add_(share)

    def _parts(self, images: Array, maps: Array) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for start in range(0, self._geometry.num, self._samples):
            part = slice(start, start + self._samples)
            yield tensor(images[part]), tensor(maps[part])


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
