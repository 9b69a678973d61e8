"""Reshape: the same values under another shape."""

from __future__ import annotations

import math

from farlayer.engine.layer import Blobs
from farlayer.engine.layers.common.same_memory import SameMemoryLayer, share_diff
from farlayer.engine.registry import register

_COPY = 0
_INFER = -1
_Shape = tuple[int, ...]


@register("Reshape")
class ReshapeLayer(SameMemoryLayer):
    """y is x with reshape_param.num_axes axes from reshape_param.axis on (-1: all) replaced by reshape_param.shape.

    A dim of 0 is that of the same place in x; one dim may be -1: what makes the count fit. An axis of -1 is behind the
    last one.
    bottom[0]: x, any shape.
    top[0]: y, the count of x; the memory of bottom[0], data and diff.
    Differs from Caffe: a batch of size 0 may be reshaped with a -1, where Caffe divides by 0.
    Source: Caffe, src/caffe/layers/reshape_layer.cpp.
    """

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        shape = bottom[0].shape
        start, end = self._replaced_axes(shape)
        dims = self._new_dims(shape, start, end)
        new_shape = (*shape[:start], *dims, *shape[end:])
        if math.prod(new_shape) != bottom[0].count:
            raise self.error(
                f"bottom shape {shape} has {bottom[0].count} values, the new shape {new_shape} has "
                f"{math.prod(new_shape)}",
                remedy="change reshape_param.shape, or let one of its dims be -1: what makes the count fit",
            )
        top[0].reshape(new_shape)
        share_diff(self, bottom[0], top[0])

    def _replaced_axes(self, shape: _Shape) -> tuple[int, int]:
        """The first axis that is replaced, and the first one behind that stays."""
        param = self.param.reshape_param
        start = param.axis if param.axis >= 0 else param.axis + len(shape) + 1
        if not 0 <= start <= len(shape):
            raise self.error(
                f"reshape_param.axis is {param.axis}, but bottom shape {shape} has {len(shape)} axes",
                remedy=f"choose an axis from {-len(shape) - 1} to {len(shape)}",
            )
        end = len(shape) if param.num_axes == -1 else start + param.num_axes
        if not start <= end <= len(shape):
            raise self.error(
                f"reshape_param.num_axes is {param.num_axes} from axis {start} on, but bottom shape {shape} has "
                f"{len(shape)} axes",
                remedy=f"choose a num_axes from 0 to {len(shape) - start}, or -1 for all from axis on",
            )
        return start, end

    def _new_dims(self, shape: _Shape, start: int, end: int) -> list[int]:
        """The dims of reshape_param.shape, those that are to be copied or inferred filled in."""
        given = list(self.param.reshape_param.shape.dim)
        if given.count(_INFER) > 1 or min(given, default=0) < _INFER:
            raise self.error(
                f"reshape_param.shape has the dims {given}: at most one may be -1, and none less",
                remedy="give a dim of 1 or more, 0 to copy the bottom's, or once -1 to have it inferred",
            )
        dims = []
        for axis, dim in enumerate(given, start):
            if dim == _COPY and axis >= len(shape):
                raise self.error(
                    f"reshape_param.shape has a 0 for axis {axis}, but bottom shape {shape} has no such axis to copy",
                    remedy="give the size of that axis",
                )
            dims.append(shape[axis] if dim == _COPY else dim)
        if _INFER in dims:
            dims[dims.index(_INFER)] = self._inferred(shape[start:end], [dim for dim in dims if dim != _INFER])
        return dims

    def _inferred(self, replaced: _Shape, known: list[int]) -> int:
        """The dim that gives the known ones the count of the replaced axes."""
        if 0 in known:  # any would do: the one that a batch of another size would get
            replaced, known = tuple(size or 1 for size in replaced), [dim or 1 for dim in known]
        count, divisor = math.prod(replaced), math.prod(known)
        if count % divisor:
            raise self.error(
                f"the axes that are replaced, {replaced}, have {count} values, which the dims given, {known}, "
                f"a product of {divisor}, do not divide",
                remedy="change reshape_param.shape so that the -1 becomes a whole number",
            )
        return count // divisor
