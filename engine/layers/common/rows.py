"""Rows of an array by index: the indices read, rows gathered, rows added up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.scratch import Scratch

if TYPE_CHECKING:
    from farlayer.blobs.blob import Blob
    from farlayer.engine.layer import Layer

Array = NDArray[np.float32]
Indices = NDArray[np.intp]


def read_indices(layer: Layer, blob: Blob, size: int, rows: str) -> Indices:
    """Turns a blob of float indices into whole ones; fractions are cut off, as in Caffe.

    Args:
        layer: who reads: it is named in the error, and its scratch keeps the result until the next call.
        blob: the indices, any shape.
        size: how many rows there are.
        rows: what the rows are, for the error.

    Returns:
        The indices, flat.

    Raises:
        NetError: an index is not in 0 .. size - 1.
    """
    values = blob.data.reshape(-1)
    fits = (values > -1) & (values < size) & (size > 0)  # a NaN does not
    if not fits.all():
        raise layer.error(
            f"index {values[~fits][0]:g} is out of range: there are {size} {rows}",
            remedy=f"give indices from 0 to {size - 1}" if size else "give no indices",
        )
    indices = layer.scratch.array_of("indices", values.shape, np.intp)
    indices[...] = values
    return indices


def take_rows(source: Array, indices: Indices, out: Array) -> None:
    """Sets out[i] to source[indices[i]]; the indices must be in range."""
    np.take(source, indices, axis=0, out=out, mode="clip")  # mode="raise" would take a buffer of the size of `out`


def add_rows(rows: Array, indices: Indices, target: Array, workspace: Scratch) -> None:
    """Adds rows[i] to target[indices[i]]; where an index comes several times, all its rows add up.

    Rows of one index are laid side by side and summed in pairs, then in pairs of pairs: the number of steps grows with
    the logarithm of how often an index comes.
    """
    if not rows.size:
        return
    width = math.prod(rows.shape[1:])
    order = np.argsort(indices, kind="stable")
    sums = workspace.array("sums of rows", (len(indices), width))
    take_rows(rows.reshape(sums.shape), order, sums)
    found, starts, counts = np.unique(indices[order], return_index=True, return_counts=True)
    place = np.arange(len(indices)) - np.repeat(starts, counts)  # among the rows of its index
    behind = np.repeat(counts, counts) - place
    step = 1
    while step < counts.max():
        receivers = np.flatnonzero((place % (2 * step) == 0) & (behind > step))
        _add_some(sums, receivers + step, sums, receivers, workspace)
        step *= 2
    _add_some(sums, starts, target.reshape(len(target), width), found, workspace)


def _add_some(source: Array, taken: Indices, target: Array, receivers: Indices, workspace: Scratch) -> None:
    """Adds source[taken] to target[receivers]; no receiver comes twice."""
    shape = (len(receivers), source.shape[1])
    addend, total = workspace.array("addend", shape), workspace.array("total", shape)
    take_rows(source, taken, addend)
    take_rows(target, receivers, total)
    np.add(total, addend, out=total)
    target[receivers] = total
