"""Permute: axes in another order."""

from __future__ import annotations

from farlayer.engine.layer import Blobs
from farlayer.engine.layers.common.rearranging_layer import Array, RearrangingLayer
from farlayer.engine.registry import register


@register("Permute")
class PermuteLayer(RearrangingLayer):
    """Axis i of y is axis permute_param.order[i] of x; axes that are not named follow in their order.

    bottom[0]: x, any shape.
    top[0]: y, the same values.
    Differs from Caffe (SSD's): y never is the memory of x, as it is there where the order changes nothing.
    Source: Caffe of SSD (weiliu89/caffe), src/caffe/layers/permute_layer.cpp.
    """

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        shape = bottom[0].shape
        named = list(self.param.permute_param.order)
        if len(set(named)) < len(named) or max(named, default=-1) >= len(shape):
            raise self.error(
                f"permute_param.order is {named} for a bottom of shape {shape}",
                remedy=f"name each axis from 0 to {len(shape) - 1} at most once" if shape else "name no axis",
            )
        self._order = [*named, *(axis for axis in range(len(shape)) if axis not in named)]
        top[0].reshape([shape[axis] for axis in self._order])

    def views(self, x: Array, y: Array) -> tuple[Array, Array]:
        return x.transpose(self._order), y
