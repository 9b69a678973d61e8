"""What element-wise layers share: one bottom, one top of the same shape, possibly the same blob."""

from __future__ import annotations

from farlayer.engine.layer import Blobs, Layer


class NeuronLayer(Layer):
    """One bottom, one top of its shape; the top may be the bottom itself."""

    exact_num_bottom = 1
    exact_num_top = 1
    allows_in_place = True

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        top[0].reshape(bottom[0].shape)
