"""Dropout: values left out at random in training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.neuron.neuron_layer import NeuronLayer
from farlayer.engine.layers.parts import parts
from farlayer.engine.registry import register
from farlayer.protos import caffe_pb2

Array = NDArray[np.float32]


@register("Dropout")
class DropoutLayer(NeuronLayer):
    """Sets each value to 0 with a chance of dropout_ratio in TRAIN, and passes all values in TEST.

    bottom[0]: x, any shape, float32.
    top[0]: the shape of x; may be bottom[0] itself (in place). In TRAIN x * mask / (1 - dropout_ratio), in TEST x.
        With scale_train: false (Fast R-CNN) in TRAIN x * mask, in TEST x * (1 - dropout_ratio).
    Differs from Caffe: a dropout_ratio below 0, or of 1 or more, is refused, where only a debug build looks at it.
    Source: Caffe, src/caffe/layers/dropout_layer.cpp; rbgirshick/caffe-fast-rcnn, same file.
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.dropout_param
        self._ratio = param.dropout_ratio
        if not 0 <= self._ratio < 1:
            raise self.error(
                f"dropout_ratio is {self._ratio:g}, expected 0 or more and less than 1",
                remedy="correct dropout_param.dropout_ratio, the chance that a value is dropped",
            )
        self._trains = self.param.phase == caffe_pb2.TRAIN
        if param.scale_train:
            self._scale = 1 / (1 - self._ratio) if self._trains else 1.0
        else:
            self._scale = 1.0 if self._trains else 1 - self._ratio

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        if self._trains:
            self._draw_mask(bottom[0].shape)
        self._scale_kept(bottom[0].data, top[0].data)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if propagate_down[0]:
            self._scale_kept(top[0].diff, bottom[0].diff)

    def _draw_mask(self, shape: tuple[int, ...]) -> None:
        for (mask,) in parts(self._mask(shape)):
            drawn = self.workspace.array("drawn", mask.shape)
            self.context.rng.random(dtype=np.float32, out=drawn)
            np.greater_equal(drawn, self._ratio, out=mask)

    def _scale_kept(self, source: Array, target: Array) -> None:
        if self._trains:
            for values, mask, out in parts(source, self._mask(source.shape), target):
                np.multiply(values, mask, out=out)
                np.multiply(out, self._scale, out=out)
        else:
            np.multiply(source, self._scale, out=target)

    def _mask(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Which values pass, as the last forward in TRAIN drew it."""
        return self.scratch.array_of("mask", shape, np.bool_)
