"""ArgMax: the largest values and where they are."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs
from farlayer.engine.layers.no_gradient import NoGradientLayer
from farlayer.engine.registry import register
from farlayer.engine.scratch import Scratch

Array = NDArray[np.float32]
Keys = NDArray[np.int64]
_MAGNITUDE = np.int32(0x7FFFFFFF)
"""All bits of a float but its sign."""
_INDEX_BITS = 32
_INDEX_MASK = (1 << _INDEX_BITS) - 1


@register("ArgMax")
class ArgMaxLayer(NoGradientLayer):
    """The argmax_param.top_k largest values of x, the largest first; of equal ones that with the larger index first.

    bottom[0]: x, shape (N, any axes...). With argmax_param.axis it is searched along that axis, else sample by sample.
    top[0]: with axis the shape of x, but for top_k along the axis: the indices, or the values with out_max_val.
        Without axis shape (N, 1, top_k): the indices; or (N, 2, top_k) with out_max_val: indices, then values; axes of
        1 follow where x has more than three.
    Differs from Caffe: a NaN is more than any number, or less where its sign bit is set, where Caffe's order is
        undefined; force_backward leaves the layer out, where Caffe's stops the run: it has no gradient.
    Source: Caffe, src/caffe/layers/argmax_layer.cpp.
    """

    exact_num_bottom = 1
    exact_num_top = 1

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.argmax_param
        shape = bottom[0].shape
        self._has_axis = param.HasField("axis")
        axis = self.canonical_axis(param.axis if self._has_axis else 0, bottom[0], "argmax_param.axis")
        before, after = shape[:axis], shape[axis + 1 :]
        if self._has_axis:
            self._searched = math.prod(before), shape[axis], math.prod(after)
            top_shape = (*before, param.top_k, *after)
        else:
            self._searched = shape[0], math.prod(after), 1
            top_shape = (shape[0], 1 + param.out_max_val, param.top_k, *[1] * (len(shape) - 3))
        size = self._searched[1]
        if not 1 <= param.top_k <= size:
            raise self.error(
                f"top_k is {param.top_k}, but bottom shape {shape} gives {size} values to choose from",
                remedy=f"choose a top_k from 1 to {size}" if size else "give it a bottom with values to choose from",
            )
        top[0].reshape(top_shape)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.argmax_param
        outer, _, inner = self._searched
        best = _largest(bottom[0].data.reshape(self._searched), param.top_k, self.workspace)
        if self._has_axis:
            reads = [_read_values if param.out_max_val else _read_indices]
        else:
            reads = [_read_indices, _read_values][: 1 + param.out_max_val]
        y = top[0].data.reshape(outer, len(reads), param.top_k, inner)
        for place, read in enumerate(reads):
            read(best, y[:, place], self.workspace)


def _largest(x: Array, count: int, workspace: Scratch) -> Keys:
    """The keys of the largest values along axis 1, the largest first.

    A key is a whole number: above the index of a value stand the value's bits. Keys sort as the values do and, where
    these are equal, as the indices.
    """
    values = np.add(x, 0, out=workspace.array("values", x.shape))  # makes a negative zero a zero
    keys = workspace.array_of("keys", x.shape, np.int64)
    keys[...] = _flip_negative(values.view(np.int32), workspace)
    np.left_shift(keys, _INDEX_BITS, out=keys)
    np.bitwise_or(keys, np.arange(x.shape[1])[:, None], out=keys)
    best = workspace.array_of("best", (x.shape[0], count, x.shape[2]), np.int64)
    if count == 1:
        return np.max(keys, axis=1, keepdims=True, out=best)
    keys.partition(-count, axis=1)
    best[...] = keys[:, -count:]
    best.sort(axis=1)
    return best[:, ::-1]


def _read_indices(keys: Keys, out: Array, workspace: Scratch) -> None:
    np.bitwise_and(keys, _INDEX_MASK, out=out, casting="unsafe")


def _read_values(keys: Keys, out: Array, workspace: Scratch) -> None:
    bits = workspace.array_of("bits", keys.shape, np.int32)
    np.right_shift(keys, _INDEX_BITS, out=bits, casting="unsafe")
    out[...] = _flip_negative(bits, workspace).view(np.float32)


def _flip_negative(bits: NDArray[np.int32], workspace: Scratch) -> NDArray[np.int32]:
    """Turns in place the bits of floats, a sign and a magnitude, into whole numbers of the same order; and back."""
    flipped = workspace.array_of("flipped", bits.shape, np.int32)
    np.right_shift(bits, 31, out=flipped)
    np.bitwise_and(flipped, _MAGNITUDE, out=flipped)
    return np.bitwise_xor(bits, flipped, out=bits)
