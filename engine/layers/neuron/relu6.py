"""ReLU6: rectified linear unit that stops at 6."""

from __future__ import annotations

from farlayer.engine.layers.neuron.relu import ReLULayer
from farlayer.engine.registry import register


@register("ReLU6")
class ReLU6Layer(ReLULayer):
    """min(max(x, 0), 6) + relu_param.negative_slope * min(x, 0), element by element; the gradient passes below 6.

    bottom[0]: x, any shape, float32.
    top[0]: y, the shape of x; may be bottom[0] itself (in place).
    Not in Caffe: a layer of forks, for MobileNet v2.
    Source: GerHobbelt/caffe, src/caffe/layers/relu6_layer.cpp (whose backward is missing).
    """

    limit = 6.0
