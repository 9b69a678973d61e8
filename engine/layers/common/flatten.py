"""Flatten: several axes taken as one."""

from __future__ import annotations

import math

from farlayer.engine.layer import Blobs
from farlayer.engine.layers.common.same_memory import SameMemoryLayer
from farlayer.engine.registry import register


@register("Flatten")
class FlattenLayer(SameMemoryLayer):
    """y is x with the axes from flatten_param.axis to flatten_param.end_axis, both included, as one.

    bottom[0]: x, shape (outer axes..., flattened axes..., inner axes...).
    top[0]: y, shape (outer axes..., product of the flattened axes, inner axes...); its data is the memory of
        bottom[0]'s, and so is its diff from the first backward on. An end_axis just before axis puts in an axis of 1.
    Source: Caffe, src/caffe/layers/flatten_layer.cpp.
    """

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.flatten_param
        shape = bottom[0].shape
        start = self.canonical_axis(param.axis, bottom[0], "flatten_param.axis")
        end = self.canonical_axis(param.end_axis, bottom[0], "flatten_param.end_axis") + 1
        if end < start:
            raise self.error(
                f"flatten_param.end_axis is {param.end_axis}, before axis {param.axis} of a blob of shape {shape}",
                remedy="choose an end_axis that is not before axis",
            )
        top[0].reshape(*shape[:start], math.prod(shape[start:end]), *shape[end:])
