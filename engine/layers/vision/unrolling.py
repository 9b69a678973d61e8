"""Windows of images unrolled into the columns of matrices, and folded back."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from farlayer.engine.layers.vision.spatial import Window

Array = NDArray[np.float32]
_Index = tuple[int | slice, ...]


def interior(padded: Array, window: Window, spatial: tuple[int, ...]) -> Array:
    """The part of padded images, shape (n, channels, padded axes...), that is the images."""
    return padded[_index(slice(pad, pad + size) for size, pad in zip(spatial, window.pad, strict=True))]


def im2col(padded: Array, window: Window, columns: Array) -> None:
    """Copies each window into a column.

    Args:
        padded: shape (n, channels, padded axes...).
        window: the kernel and its steps.
        columns: what is written, shape (n, channels, kernel axes..., output axes...).
    """
    spatial_strides = padded.strides[2:]
    strides = (
        *padded.strides[:2],
        *map(math.prod, zip(spatial_strides, window.dilation, strict=True)),
        *map(math.prod, zip(spatial_strides, window.stride, strict=True)),
    )
    # One copy over all axes: NumPy walks them in C, where a loop over the kernel would do it in Python.
    np.copyto(columns, as_strided(padded, columns.shape, strides, writeable=False))


def col2im(columns: Array, window: Window, padded: Array) -> None:
    """Adds each element of the columns to the place that it came from: the transpose of `im2col`."""
    for element, view in _views(padded, window, columns):
        np.add(view, columns[element], out=view)


def _views(padded: Array, window: Window, columns: Array) -> Iterator[tuple[_Index, Array]]:
    """For each element of the kernel: its index in `columns`, and the places of `padded` that it falls on."""
    output = columns.shape[2 + len(window.kernel) :]
    for offset in itertools.product(*map(range, window.kernel)):
        places = (
            slice(at * dilation, at * dilation + stride * (size - 1) + 1, stride)
            for at, dilation, stride, size in zip(offset, window.dilation, window.stride, output, strict=True)
        )
        yield _index(offset), padded[_index(places)]


def _index(spatial: Iterable[int | slice]) -> _Index:
    """An index of all samples, all channels and the given spatial axes."""
    return (slice(None), slice(None), *spatial)
