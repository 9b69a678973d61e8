"""Correlation of images with filters, its transpose and its gradient: what convolution layers are made of."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layers.vision.im2col import col2im, im2col, interior, padded_shape
from farlayer.engine.layers.vision.spatial import Window
from farlayer.engine.scratch import Scratch

Array = NDArray[np.float32]

_PART_VALUES = 1 << 18
"""Columns are made in parts of about this many values (1 MiB): the product then finds them in the cache, and memory
does not grow with image and batch."""
_SMALL_MAP = 256
"""Maps of fewer places are computed for several samples together: alone they are too narrow for a fast product (50
filters of 500 values at 64 places: 53 GFLOP/s alone, 140 together)."""
_SMALL_POINTWISE_MAP = 32
"""The same for 1x1 filters, where samples alone need no copy at all."""
_GRADIENT_VALUES = 1 << 20
"""The gradient of larger filters is made and added in blocks of this many values (4 MiB)."""


@dataclass(frozen=True)
class Geometry:
    """The sizes of one correlation.

    Attributes:
        num: samples.
        channels: of the images.
        num_maps: one a filter.
        group: channels and maps are split into so many groups, connected one to one.
        image: spatial shape of the images.
        places: spatial shape of the maps: the places of the window.
        window: extent and steps of the filters.
    """

    num: int
    channels: int
    num_maps: int
    group: int
    image: tuple[int, ...]
    places: tuple[int, ...]
    window: Window

    @property
    def filter_values(self) -> int:
        """Values of one filter."""
        return self.channels // self.group * math.prod(self.window.kernel)

    @property
    def column_values(self) -> int:
        """Values of all windows at one place."""
        return self.group * self.filter_values

    @property
    def num_places(self) -> int:
        """Places of one map."""
        return math.prod(self.places)


class Correlation(Protocol):
    """Correlates images with filters.

    All arrays are float32 and C-contiguous: images (num, channels, *image), maps (num, num_maps, *places), filters
    (num_maps, channels / group, *kernel), biases (num_maps,).
    """

    def to_maps(self, images: Array, filters: Array, biases: Array | None, maps: Array) -> None:
        """Sets each map to the images correlated with its filter, plus its bias."""

    def to_images(self, maps: Array, filters: Array, images: Array) -> None:
        """Sets the images to the sum of the filters at all places, each weighted with its map: the transpose."""

    def add_filter_gradient(self, images: Array, maps: Array, gradient: Array) -> None:
        """Adds the gradient that the filters have when the maps are given as the gradient of `to_maps`."""


class UnrolledCorrelation:
    """Correlation as products of matrices: filters times windows unrolled into columns.

    Inside, the sample axis comes last. Of one sample that is a view of the blob, and large maps are computed so,
    sample by sample and some rows at a time, straight into their place. Small ones are copied there and back for
    several samples together.
    """

    def __init__(self, geometry: Geometry, workspace: Scratch) -> None:
        self._geometry = geometry
        self._window = geometry.window
        self._workspace = workspace
        self._pointwise = geometry.window.is_identity
        self._pads = any(geometry.window.pad)
        self._num_rows = geometry.places[0] if geometry.places else 1
        self._samples_a_part, self._rows_a_part = self._plan()

    def _plan(self) -> tuple[int, int]:
        geometry = self._geometry
        values_a_row = max(geometry.column_values * geometry.num_places // self._num_rows, 1)
        if geometry.num_places >= (_SMALL_POINTWISE_MAP if self._pointwise else _SMALL_MAP):
            return 1, self._num_rows if self._pointwise else max(1, _PART_VALUES // values_a_row)
        # Filters are read anew for each part. Where they are large, so is the net, and parts may be.
        held = geometry.num_maps * geometry.filter_values + geometry.num * (
            geometry.channels * math.prod(geometry.image) + geometry.num_maps * geometry.num_places
        )
        return max(1, max(_PART_VALUES, held // 8) // (values_a_row * self._num_rows)), self._num_rows

    def to_maps(self, images: Array, filters: Array, biases: Array | None, maps: Array) -> None:
        """See Correlation."""
        matrices = self._filter_matrices(filters)
        bias_columns = None if biases is None else biases.reshape(self._geometry.group, -1, 1)
        for samples in self._sample_parts():
            padded = self._take_images(images[samples], load=True)
            results = self._take_maps(maps[samples], load=False)
            for rows in self._row_parts():
                out = self._rows_of(results, rows)
                np.matmul(matrices, self._unroll(padded, rows), out=out)
                if bias_columns is not None:
                    np.add(out, bias_columns, out=out)
            self._give_maps(results, maps[samples])

    def to_images(self, maps: Array, filters: Array, images: Array) -> None:
        """See Correlation."""
        transposed = self._filter_matrices(filters).swapaxes(1, 2)
        for samples in self._sample_parts():
            padded = self._take_images(images[samples], load=False)
            weights = self._take_maps(maps[samples], load=True)
            for rows in self._row_parts():
                columns = self._columns(padded, rows)
                np.matmul(transposed, self._rows_of(weights, rows), out=self._matrices(columns))
                if not self._pointwise:
                    col2im(columns, self._window, self._band(padded, rows))
            self._give_images(padded, images[samples])

    def add_filter_gradient(self, images: Array, maps: Array, gradient: Array) -> None:
        """See Correlation."""
        total = self._filter_matrices(gradient)
        step = max(32, _GRADIENT_VALUES // max(self._geometry.column_values, 1))
        for samples in self._sample_parts():
            padded = self._take_images(images[samples], load=True)
            weights = self._take_maps(maps[samples], load=True)
            for rows in self._row_parts():
                transposed = self._unroll(padded, rows).swapaxes(1, 2)
                for start in range(0, total.shape[1], step):
                    target = total[:, start : start + step]
                    share = self._workspace.array("gradient", target.shape)
                    np.matmul(self._rows_of(weights, rows)[:, start : start + step], transposed, out=share)
                    np.add(target, share, out=target)

    # Parts

    def _sample_parts(self) -> Iterator[slice]:
        step = self._samples_a_part
        return (slice(start, start + step) for start in range(0, self._geometry.num, step))

    def _row_parts(self) -> Iterator[slice]:
        """Parts of the first spatial axis of the maps."""
        step, end = self._rows_a_part, self._num_rows
        return (slice(start, min(start + step, end)) for start in range(0, end, step))

    def _rows_of(self, matrices: Array, rows: slice) -> Array:
        """The columns of map matrices that belong to some rows."""
        values = matrices.shape[2] // self._num_rows
        return matrices[:, :, rows.start * values : rows.stop * values]

    def _band(self, padded: Array, rows: slice) -> Array:
        """The part of padded images that the windows of some rows begin in."""
        return padded[:, rows.start * self._window.stride[0] :]

    # Samples last

    def _take_images(self, images: Array, *, load: bool) -> Array:
        """Images with their padding, (channels, padded axes..., n): as they are, or all zero where not loaded."""
        last = np.moveaxis(images, 0, -1)
        padded = last
        if self._copies_images(images):
            spatial = padded_shape(self._geometry.image, self._window)
            padded = self._workspace.array("padded", (self._geometry.channels, *spatial, len(images)))
        if self._pads or not (load or self._pointwise):
            padded.fill(0)
        if load and padded is not last:
            np.copyto(interior(padded, self._window), last)
        return padded

    def _give_images(self, padded: Array, images: Array) -> None:
        if self._copies_images(images):
            images[...] = np.moveaxis(interior(padded, self._window), -1, 0)

    def _copies_images(self, images: Array) -> bool:
        return self._pads or len(images) > 1

    def _take_maps(self, maps: Array, *, load: bool) -> Array:
        """Maps as one matrix a group, (group, maps of it, places * n)."""
        last = np.moveaxis(maps, 0, -1)
        if len(maps) > 1:
            copy = self._workspace.array("maps", last.shape)
            if load:
                np.copyto(copy, last)
            last = copy
        return last.reshape(self._geometry.group, self._geometry.num_maps // self._geometry.group, -1)

    def _give_maps(self, matrices: Array, maps: Array) -> None:
        if len(maps) > 1:
            maps[...] = np.moveaxis(matrices.reshape(*maps.shape[1:], len(maps)), -1, 0)

    # Columns

    def _filter_matrices(self, filters: Array) -> Array:
        """Filters as one matrix a group, (group, filters of it, filter values)."""
        return filters.reshape(self._geometry.group, self._geometry.num_maps // self._geometry.group, -1)

    def _unroll(self, padded: Array, rows: slice) -> Array:
        """The windows of some rows as one matrix a group, (group, filter values, places * n)."""
        columns = self._columns(padded, rows)
        if not self._pointwise:
            im2col(self._band(padded, rows), self._window, columns)
        return self._matrices(columns)

    def _columns(self, padded: Array, rows: slice) -> Array:
        """Memory for the windows of some rows, (channels, kernel axes..., rows, other places..., n)."""
        if self._pointwise:
            return padded
        shape = (
            self._geometry.channels,
            *self._window.kernel,
            rows.stop - rows.start,
            *self._geometry.places[1:],
            padded.shape[-1],
        )
        return self._workspace.array("columns", shape)

    def _matrices(self, columns: Array) -> Array:
        return columns.reshape(self._geometry.group, self._geometry.filter_values, -1)
