"""DepthwiseConvolution: a Convolution in which every channel has filters of its own."""

from __future__ import annotations

from farlayer.engine.layers.vision.convolution import ConvolutionLayer
from farlayer.engine.registry import register


@register("DepthwiseConvolution")
class DepthwiseConvolutionLayer(ConvolutionLayer):
    """A Convolution whose group is the number of channels.

    Bottoms, tops and params are those of Convolution; num_output is a multiple of the channels.
    convolution_param.group may be left out.
    Differs from Caffe: in its forks group may not be left out, and another one than the channels is computed
    on a CPU as Convolution does, but wrongly on a GPU; here it is refused.
    Source: a layer of Caffe's forks (yonghenglh6/DepthwiseConvolution), depthwise_conv_layer.cpp and .cu.
    """

    def _read_group(self) -> int:
        param = self.param.convolution_param
        if param.HasField("group") and param.group != self._channels:
            raise self.error(
                f"group is {param.group}, but there are {self._channels} channels",
                remedy='set group to the number of channels, or use type: "Convolution"',
            )
        return self._channels
