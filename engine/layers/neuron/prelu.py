"""PReLU: rectified linear unit whose slope below 0 is learnt."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.neuron.neuron_layer import NeuronLayer
from farlayer.engine.layers.neuron.rectifiers import rectified_slope, rectify
from farlayer.engine.layers.parts import batch_parts
from farlayer.engine.registry import register
from farlayer.protos import caffe_pb2

Array = NDArray[np.float32]

_DEFAULT_FILLER = caffe_pb2.FillerParameter(type="constant", value=0.25)


@register("PReLU")
class PReLULayer(NeuronLayer):
    """max(x, 0) + a * min(x, 0), with a slope a for each channel.

    bottom[0]: x, shape (N, C, ...).
    top[0]: y, the shape of x; may be bottom[0] itself (in place; x is kept for backward).
    params[0]: a, shape (C,), or 0-d with channel_shared; filled by prelu_param.filler, else with 0.25.
    Source: Caffe, src/caffe/layers/prelu_layer.cpp.
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.prelu_param
        self._check_axes(bottom)
        self._num_channels = bottom[0].shape[1]
        self.make_params(
            [() if param.channel_shared else (self._num_channels,)],
            [param.filler if param.HasField("filler") else _DEFAULT_FILLER],
        )

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        self._check_axes(bottom)
        if bottom[0].shape[1] != self._num_channels and not self.param.prelu_param.channel_shared:
            raise self.error(
                f"bottom shape {bottom[0].shape} has {bottom[0].shape[1]} channels (axis 1), expected "
                f"{self._num_channels} as at setup",
                remedy="only other axes may change between calls, unless channel_shared is true",
            )
        super().reshape(bottom, top)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.keep_input(bottom, top)
        x, y = self._by_channel(bottom[0].data), self._by_channel(top[0].data)
        for part in batch_parts(x.shape):
            rectify(x[part], self._slopes(), y[part], self.workspace)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        x, dy = self._by_channel(self.kept_input(bottom, top)), self._by_channel(top[0].diff)
        if self.param_propagate_down[0]:
            for part in batch_parts(x.shape):
                self._add_slope_gradient(x[part], dy[part])
        if propagate_down[0]:
            dx = self._by_channel(bottom[0].diff)
            for part in batch_parts(x.shape):
                slope = self.workspace.array("slope", x[part].shape)
                rectified_slope(x[part], self._slopes(), slope, self.workspace)
                np.multiply(dy[part], slope, out=dx[part])

    def _add_slope_gradient(self, x: Array, dy: Array) -> None:
        product = self.workspace.array("product", x.shape)
        np.clip(x, -np.inf, 0, out=product)
        np.multiply(product, dy, out=product)
        gradient = product.sum(axis=2).sum(axis=0)
        diff = self.params[0].diff
        diff += gradient.sum() if self.param.prelu_param.channel_shared else gradient

    def _slopes(self) -> Array:
        """The slopes in a shape that goes with (N, C, values)."""
        return self.params[0].data.reshape(-1, 1)

    def _by_channel(self, array: Array) -> Array:
        """Views an array as (N, C, values)."""
        shape = array.shape
        return array.reshape(*shape[:2], math.prod(shape[2:]))

    def _check_axes(self, bottom: Blobs) -> None:
        if len(bottom[0].shape) < 2:
            raise self.error(
                f"bottom shape {bottom[0].shape} has {len(bottom[0].shape)} axes, expected 2 or more (N, C, ...)",
                remedy="give it a blob with a channel axis",
            )
