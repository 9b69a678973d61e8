"""What layers share whose top is the memory of another blob, possibly under another shape.

A layer that works in place on such a top changes the other blob, too, as in Caffe. It is always the other blob's memory
that stays, so that what was planned for Python layers holds for it. Data is handed on in forward, not in reshape: until
then the bottom itself may have memory that a layer before takes away again (a Split does).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from farlayer.engine.layer import Blobs, Flags, Layer

if TYPE_CHECKING:
    from farlayer.blobs.blob import Blob


def share_diff(layer: Layer, source: Blob, top: Blob) -> None:
    """Makes the diff of a layer's only top the memory of another blob's.

    Differs from Caffe: not where the top has a loss_weight. Its gradient is set once, and a layer that works in place
    on the other blob would change it for good.
    """
    if not any(layer.param.loss_weight):
        top.share_diff(source)


def pass_diff(layer: Layer, top: Blob, bottom: Blob) -> None:
    """Gives the top's gradient to the bottom, if it does not lie there already, and lets them share it from now on."""
    if top.diff_segment is not bottom.diff_segment:
        bottom.diff[...] = top.diff.reshape(bottom.shape)
        share_diff(layer, bottom, top)


class SameMemoryLayer(Layer):
    """One bottom and one top of the same values in the same memory. A subclass gives reshape."""

    exact_num_bottom = 1
    exact_num_top = 1
    shares_data = True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        top[0].share_data(bottom[0])

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if propagate_down[0]:
            pass_diff(self, top[0], bottom[0])
