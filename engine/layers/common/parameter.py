"""Parameter: a learned blob as a top."""

from __future__ import annotations

import numpy as np

from farlayer.blobs.blob import Blob
from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.layers.common.same_memory import share_diff
from farlayer.engine.registry import register


@register("Parameter")
class ParameterLayer(Layer):
    """Gives its param to the net. It starts as zeros.

    top[0]: shape parameter_param.shape; the memory of params[0], data and diff. So what the top's reader sets is the
        gradient, and with iter_size, as in Caffe, that of the last pass counts alone.
    params[0]: the same shape.
    Source: Caffe, include/caffe/layers/parameter_layer.hpp.
    """

    exact_num_bottom = 0
    exact_num_top = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        shape = tuple(self.param.parameter_param.shape.dim)
        # In the kind of memory that the top needs, so that a Python layer that reads it finds it there.
        self._params = self._params or [Blob(shape, allocate=top[0].allocate)]
        self.make_params([shape], [])

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        top[0].reshape(self.params[0].shape)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        top[0].share_data(self.params[0])
        share_diff(self, self.params[0], top[0])

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if self.param_propagate_down[0] and top[0].diff_segment is not self.params[0].diff_segment:
            np.add(self.params[0].diff, top[0].diff, out=self.params[0].diff)
