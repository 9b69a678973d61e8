"""The layers that compute with PyTorch's kernels, by the NumPy layer whose place each takes."""

from __future__ import annotations

from farlayer.engine.kernels.torch_batch_norm import TorchBatchNormLayer
from farlayer.engine.kernels.torch_convolution import (
    TorchConvolutionLayer,
    TorchDeconvolutionLayer,
    TorchDepthwiseConvolutionLayer,
)
from farlayer.engine.kernels.torch_inner_product import TorchInnerProductLayer
from farlayer.engine.kernels.torch_relu import TorchReLULayer
from farlayer.engine.layer import Layer
from farlayer.engine.layers.common.batch_norm import BatchNormLayer
from farlayer.engine.layers.common.inner_product import InnerProductLayer
from farlayer.engine.layers.neuron.relu import ReLULayer
from farlayer.engine.layers.vision.convolution import ConvolutionLayer
from farlayer.engine.layers.vision.deconvolution import DeconvolutionLayer
from farlayer.engine.layers.vision.depthwise_convolution import DepthwiseConvolutionLayer

_LAYER_CLASSES: dict[type[Layer], type[Layer]] = {
    BatchNormLayer: TorchBatchNormLayer,
    ConvolutionLayer: TorchConvolutionLayer,
    DeconvolutionLayer: TorchDeconvolutionLayer,
    DepthwiseConvolutionLayer: TorchDepthwiseConvolutionLayer,
    InnerProductLayer: TorchInnerProductLayer,
    ReLULayer: TorchReLULayer,
}


class TorchKernels:
    """PyTorch's kernels where they are the faster ones, called on the memory of the blobs.

    Pooling and LRN stay with NumPy: on two cores its max pooling takes 12 ms where aten's takes 31 (10 x 64 images of
    112 x 112), its LRN 20 ms instead of 48 (10 x 192 images of 56 x 56), and its average pooling as long on one core as
    aten's on two.
    """

    name = "torch"

    def layer_class(self, layer_class: type[Layer]) -> type[Layer]:
        """See farlayer.engine.kernels.choice.Kernels."""
        return _LAYER_CLASSES.get(layer_class, layer_class)
