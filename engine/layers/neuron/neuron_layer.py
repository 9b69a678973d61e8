"""What element-wise layers share: one bottom, one top of the same shape, possibly the same blob."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Layer


class NeuronLayer(Layer):
    """One bottom, one top of its shape; the top may be the bottom itself.

    Source: Caffe, src/caffe/layers/neuron_layer.cpp.
    """

    exact_num_bottom = 1
    exact_num_top = 1
    allows_in_place = True

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        top[0].reshape(bottom[0].shape)

    def keep_input(self, bottom: Blobs, top: Blobs) -> None:
        """Copies x where forward is about to write y over it. For layers whose gradient cannot be told from y."""
        if bottom[0] is top[0]:
            np.copyto(self.kept_input(bottom, top), bottom[0].data)

    def kept_input(self, bottom: Blobs, top: Blobs) -> NDArray[np.float32]:
        """What the last forward found in bottom[0], provided that it called `keep_input`."""
        return self.scratch.array("input", bottom[0].shape) if bottom[0] is top[0] else bottom[0].data
