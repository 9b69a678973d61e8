"""Threshold: whether values are above a bound."""

from __future__ import annotations

import numpy as np

from farlayer.engine.layer import Blobs
from farlayer.engine.layers.neuron.neuron_layer import NeuronLayer
from farlayer.engine.layers.no_gradient import NoGradientLayer
from farlayer.engine.registry import register


@register("Threshold")
class ThresholdLayer(NoGradientLayer, NeuronLayer):
    """1 where x > threshold, else 0, element by element. It has no gradient.

    bottom[0]: x, any shape, float32.
    top[0]: y, the shape of x; may be bottom[0] itself (in place).
    Differs from Caffe: force_backward leaves the layer out, where Caffe's stops the run.
    Source: Caffe, src/caffe/layers/threshold_layer.cpp.
    """

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        np.greater(bottom[0].data, self.param.threshold_param.threshold, out=top[0].data)
