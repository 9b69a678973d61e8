"""A blob as (outer, middle, inner), for layers that have one value for each place of the middle axes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layers.parts import slices
from farlayer.engine.scratch import Scratch

Array = NDArray[np.float32]

_LONG_ROW = 256
"""From so many values in a row on BLAS has the faster dot product; below, its calls cost more than they save."""


@dataclass(frozen=True)
class Middle:
    """The axes of a blob in three groups, each counted as one axis: a layer has one value for each place of the middle.

    Attributes:
        outer: values of the axes before the middle, as the batch.
        dim: places of the middle, as the channels.
        inner: values of the axes behind it, as the pixels.
    """

    outer: int
    dim: int
    inner: int

    @classmethod
    def of(cls, shape: tuple[int, ...], start: int, stop: int) -> Middle:
        """Takes the axes from start to stop (not included) as the middle."""
        return cls(math.prod(shape[:start]), math.prod(shape[start:stop]), math.prod(shape[stop:]))

    @property
    def count(self) -> int:
        """How many values share one place of the middle."""
        return self.outer * self.inner

    def bands(self, workspace: Scratch) -> Iterator[Band]:
        """Cuts along the middle into bands of at most PART_VALUES values, at least one place each.

        Args:
            workspace: gives the bands their working memory.
        """
        return (Band(self, places, workspace) for places in slices(self.dim, self.count))


@dataclass(frozen=True)
class Band:
    """A stretch of the middle with all that is outside and inside of it.

    Attributes:
        middle: the whole.
        places: the stretch, good for indexing arrays of one value for each place.
        workspace: where working memory comes from.
    """

    middle: Middle
    places: slice
    workspace: Scratch

    @property
    def num_places(self) -> int:
        """Length of the stretch."""
        return int(self.places.stop - self.places.start)

    def of(self, array: Array) -> Array:
        """Views the band's part of a C-contiguous array as (outer, places * inner)."""
        inner = self.middle.inner
        rows = array.reshape(self.middle.outer, self.middle.dim * inner)
        return rows[:, self.places.start * inner : self.places.stop * inner]

    def spread(self, values: Array) -> Array:
        """Repeats one value for each place along the inner axes, so that it broadcasts against `of(...)`.

        Rows of one length are much faster than what NumPy does where it broadcasts along a short inner axis.

        Args:
            values: shape (places,).

        Returns:
            An array of working memory, good until the next call; or `values` where that will do.
        """
        if self.middle.inner == 1 or self.num_places == 1:
            return values
        line = self.workspace.array("band line", (self.num_places, self.middle.inner))
        line[...] = values[:, np.newaxis]
        return line.reshape(-1)

    def sums(self, x: Array) -> Array:
        """Adds up the values of each place: an array of shape (places,), the caller's own."""
        if self.middle.outer == 1:
            line = x[0]
        else:
            line = self.workspace.array("band line", (x.shape[1],))
            np.add.reduce(x, axis=0, out=line)
        total: Array = np.add.reduce(line.reshape(self.num_places, self.middle.inner), axis=1)
        return total

    def dots(self, x: Array, y: Array) -> Array:
        """Adds up the products of x and y for each place: as `sums(x * y)`."""
        shape = (self.middle.outer, self.num_places, self.middle.inner)
        a, b = x.reshape(shape), y.reshape(shape)
        if self.middle.inner < _LONG_ROW:
            products: Array = np.einsum("opi,opi->p", a, b)
            return products
        rows: Array = np.matmul(a[:, :, np.newaxis, :], b[:, :, :, np.newaxis])
        total: Array = np.add.reduce(rows.reshape(shape[:2]), axis=0)
        return total
