"""Windows of a batch unrolled into the columns of a matrix, and folded back.

The sample axis comes last in every array here: with many small images the innermost runs stay long, which is what
both copies and the one matrix product over the whole batch need.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layers.vision.spatial import Window

Array = NDArray[np.float32]
_Index = tuple[int | slice, ...]


def padded_shape(spatial: tuple[int, ...], window: Window) -> tuple[int, ...]:
    """The spatial shape with the padding on both sides of each axis."""
    return tuple(size + 2 * pad for size, pad in zip(spatial, window.pad, strict=True))


def interior(padded: Array, window: Window) -> Array:
    """The part of a padded array, shape (channels, padded axes..., n), that is not padding."""
    inside = (slice(pad, size - pad) for size, pad in zip(padded.shape[1:-1], window.pad, strict=True))
    return padded[_index(inside)]


def im2col(padded: Array, window: Window, columns: Array) -> None:
    """Copies each window into a column.

    Args:
        padded: shape (channels, padded axes..., n).
        window: the kernel and its steps.
        columns: what is written, shape (channels, kernel axes..., output axes..., n).
    """
    for element, view in _views(padded, window, columns):
        columns[element] = view


def col2im(columns: Array, window: Window, padded: Array) -> None:
    """Sets each place to the sum of the column elements that came from it: the transpose of `im2col`."""
    padded.fill(0)
    for element, view in _views(padded, window, columns):
        np.add(view, columns[element], out=view)


def _views(padded: Array, window: Window, columns: Array) -> Iterator[tuple[_Index, Array]]:
    """For each element of the kernel: its index in `columns`, and the places of `padded` that it falls on."""
    num_spatial = len(window.kernel)
    output = columns.shape[1 + num_spatial : -1]
    for offset in itertools.product(*map(range, window.kernel)):
        places = (
            slice(at * dilation, at * dilation + stride * (size - 1) + 1, stride)
            for at, dilation, stride, size in zip(offset, window.dilation, window.stride, output, strict=True)
        )
        yield _index(offset), padded[_index(places)]


def _index(spatial: Iterable[int | slice]) -> _Index:
    """An index of all channels and the given spatial axes."""
    return (slice(None), *spatial)
