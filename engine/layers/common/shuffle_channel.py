"""ShuffleChannel: the channels of several groups interleaved."""

from __future__ import annotations

import math

from farlayer.engine.layer import Blobs
from farlayer.engine.layers.common.rearranging_layer import Array, RearrangingLayer
from farlayer.engine.registry import register


@register("ShuffleChannel")
class ShuffleChannelLayer(RearrangingLayer):
    """Channel i of group g becomes channel g of group i: y[n, i * G + g] = x[n, g * C / G + i].

    bottom[0]: x, shape (N, C, any axes...), where shuffle_channel_param.group G divides C.
    top[0]: y, the shape of x.
    Differs from Caffe (the fork): y has the axes of x, where it always has four there.
    Source: Caffe for Windows (soccergame/caffe-windows), src/caffe/layers/shuffle_channel_layer.cpp.
    """

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        self._group = self.param.shuffle_channel_param.group
        shape = bottom[0].shape
        if len(shape) < 2 or not self._group or shape[1] % self._group:
            raise self.error(
                f"shuffle_channel_param.group is {self._group} for a bottom of shape {shape}",
                remedy="give it a bottom with channels as its second axis, and a group that divides their number",
            )
        top[0].reshape(shape)

    def views(self, x: Array, y: Array) -> tuple[Array, Array]:
        num, channels, *spatial = x.shape
        inner, size = channels // self._group, math.prod(spatial)
        return (
            x.reshape(num, self._group, inner, size).swapaxes(1, 2),
            y.reshape(num, inner, self._group, size),
        )
