"""Correlation of images with filters, its transpose and its gradient: what convolution layers are made of."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layers.vision.spatial import Window
from farlayer.engine.layers.vision.unrolling import col2im, im2col, interior
from farlayer.engine.scratch import Scratch

Array = NDArray[np.float32]

_PART_VALUES = 1 << 18
"""Columns are made in parts of about this many values (1 MiB): the product then finds them in the cache, and memory
does not grow with image and batch."""
_PART_PLACES = 256
"""... but of no fewer places, since each product reads all filters anew."""
_SMALL_MAP = 256
"""Samples with fewer places are computed together: alone they are too narrow for a fast product (50 filters of 500
values at 64 places: 53 GFLOP/s alone, 140 together)."""
_SMALL_POINTWISE_MAP = 32
"""The same for 1x1 filters, where samples alone need no copy at all."""
_TOGETHER_VALUES = 1 << 17
"""... as many as have so many values (512 KiB) in their images and maps, which are copied."""
_GRADIENT_VALUES = 1 << 19
"""The gradient of larger filters is made and added in blocks of this many values (2 MiB)."""
_FEW_FILTERS = 128
"""The gradient of no more filters is summed up transposed: the product is a tenth to a quarter faster so."""


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


def unrolled_correlation(geometry: Geometry, workspace: Scratch) -> Correlation:
    """Correlation by NumPy: windows unrolled into columns, and products of matrices."""
    straight = _straight_correlation(geometry, workspace)
    flipped = flipped_geometry(geometry)
    if flipped is None:
        return straight
    return FlippingCorrelation(geometry, straight, _straight_correlation(flipped, workspace), workspace)


def _straight_correlation(geometry: Geometry, workspace: Scratch) -> Correlation:
    few = _SMALL_POINTWISE_MAP if geometry.window.is_identity else _SMALL_MAP
    together = geometry.num > 1 and geometry.num_places < few
    return TogetherCorrelation(geometry, workspace) if together else UnrolledCorrelation(geometry, workspace)


class UnrolledCorrelation:
    """Correlation as a product of matrices for each sample, read from and written to the blobs themselves.

    It goes by parts: as many samples as fit the bound, or some rows of one sample.
    """

    def __init__(self, geometry: Geometry, workspace: Scratch) -> None:
        self._geometry = geometry
        self._window = geometry.window
        self._workspace = workspace
        self._pointwise = geometry.window.is_identity
        self._pads = geometry.window.sees_more(geometry.image)
        self._num_rows = geometry.places[0] if geometry.places else 1
        self._row_places = geometry.num_places // self._num_rows
        self._samples, self._rows = self._plan()

    def _plan(self) -> tuple[int, int]:
        """How many samples, and how many rows of the first spatial axis of the maps, are a part."""
        geometry = self._geometry
        if self._pointwise:
            return max(geometry.num, 1), self._num_rows
        places = max(_PART_PLACES, _PART_VALUES // geometry.column_values)
        return max(1, places // geometry.num_places), max(1, min(places // self._row_places, self._num_rows))

    def to_maps(self, images: Array, filters: Array, biases: Array | None, maps: Array) -> None:
        """See Correlation."""
        matrices = self._filter_matrices(filters)
        bias_columns = None if biases is None else biases.reshape(self._geometry.group, -1, 1)
        for samples in self._sample_parts():
            padded = self._pad(images[samples])
            for rows in self._row_parts():
                out = self._map_matrices(maps[samples], rows)
                np.matmul(matrices, self._unroll(padded, rows), out=out)
                if bias_columns is not None:
                    np.add(out, bias_columns, out=out)

    def to_images(self, maps: Array, filters: Array, images: Array) -> None:
        """See Correlation."""
        transposed = self._filter_matrices(filters).swapaxes(1, 2)
        # Of one filter a group the product has one term: matmul would make much of it.
        multiply = np.multiply if transposed.shape[2] == 1 else np.matmul
        for samples in self._sample_parts():
            part = images[samples]
            padded = self._padded(part)
            if not self._pointwise:
                padded.fill(0)
            for rows in self._row_parts():
                columns = self._columns(padded, rows)
                multiply(transposed, self._map_matrices(maps[samples], rows), out=self._matrices(columns))
                if not self._pointwise:
                    col2im(columns, self._window, self._band(padded, rows))
            if self._pads:
                part[...] = interior(padded, self._window, self._geometry.image)

    def add_filter_gradient(self, images: Array, maps: Array, gradient: Array) -> None:
        """See Correlation."""
        total = self._filter_matrices(gradient)
        if total.shape[1] <= _FEW_FILTERS and total.size <= _GRADIENT_VALUES:
            self._add_gradient_of_few(images, maps, total)
            return
        block = max(32, _GRADIENT_VALUES // self._geometry.column_values)
        for columns, weights in self._samples_unrolled(images, maps):
            transposed = columns.swapaxes(1, 2)
            for start in range(0, total.shape[1], block):
                target = total[:, start : start + block]
                share = self._workspace.array("gradient", target.shape)
                np.matmul(weights[:, start : start + block], transposed, out=share)
                np.add(target, share, out=target)

    def _add_gradient_of_few(self, images: Array, maps: Array, total: Array) -> None:
        sums = self._workspace.array("gradient sums", total.swapaxes(1, 2).shape)
        sums.fill(0)
        share = self._workspace.array("gradient", sums.shape)
        for columns, weights in self._samples_unrolled(images, maps):
            np.matmul(columns, weights.swapaxes(1, 2), out=share)
            np.add(sums, share, out=sums)
        np.add(total, sums.swapaxes(1, 2), out=total)

    def _samples_unrolled(self, images: Array, maps: Array) -> Iterator[tuple[Array, Array]]:
        """For each sample, and some of its rows at a time, its windows and its maps as one matrix a group."""
        for samples in self._sample_parts():
            padded = self._pad(images[samples])
            for rows in self._row_parts():
                columns = self._unroll(padded, rows)
                yield from zip(columns, self._map_matrices(maps[samples], rows), strict=True)

    def _sample_parts(self) -> Iterator[slice]:
        return (slice(start, start + self._samples) for start in range(0, self._geometry.num, self._samples))

    def _row_parts(self) -> Iterator[slice]:
        starts = range(0, self._num_rows, self._rows)
        return (slice(start, min(start + self._rows, self._num_rows)) for start in starts)

    def _filter_matrices(self, filters: Array) -> Array:
        """Filters as one matrix a group: (group, filters of it, filter values)."""
        return filters.reshape(self._geometry.group, -1, self._geometry.filter_values)

    def _map_matrices(self, maps: Array, rows: slice) -> Array:
        """Some rows of maps as one matrix a sample and group: (n, group, maps of it, places)."""
        matrices = maps.reshape(len(maps), self._geometry.group, -1, self._geometry.num_places)
        return matrices[..., rows.start * self._row_places : rows.stop * self._row_places]

    def _unroll(self, padded: Array, rows: slice) -> Array:
        """The windows of some rows as one matrix a sample and group: (n, group, filter values, places)."""
        columns = self._columns(padded, rows)
        if not self._pointwise:
            im2col(self._band(padded, rows), self._window, columns)
        return self._matrices(columns)

    def _columns(self, padded: Array, rows: slice) -> Array:
        """Memory for the windows of some rows, (n, channels, kernel axes..., rows, other places...)."""
        if self._pointwise:
            return padded
        shape = (*padded.shape[:2], *self._window.kernel, rows.stop - rows.start, *self._geometry.places[1:])
        return self._workspace.array("columns", shape)

    def _matrices(self, columns: Array) -> Array:
        return columns.reshape(len(columns), self._geometry.group, self._geometry.filter_values, -1)

    def _band(self, padded: Array, rows: slice) -> Array:
        """The part of padded images on which the windows of some rows lie, and what is below it."""
        return padded[:, :, rows.start * self._window.stride[0] :]

    def _padded(self, images: Array) -> Array:
        """Memory for images with padding, (n, channels, padded axes...); without any, the images themselves."""
        if not self._pads:
            return images
        return self._workspace.array("padded", (*images.shape[:2], *self._window.padded_shape(images.shape[2:])))

    def _pad(self, images: Array) -> Array:
        padded = self._padded(images)
        if self._pads:
            padded.fill(0)
            np.copyto(interior(padded, self._window, self._geometry.image), images)
        return padded


class TogetherCorrelation:
    """Correlation of many small images: the sample axis becomes one more spatial axis, the last, of one image.

    So the product is wide, and the runs that are copied long; the price is a copy of images and maps there and back.
    """

    def __init__(self, geometry: Geometry, workspace: Scratch) -> None:
        self._geometry = geometry
        self._workspace = workspace
        values = geometry.channels * math.prod(geometry.image) + geometry.num_maps * geometry.num_places
        self._samples = min(geometry.num, max(1, _TOGETHER_VALUES // max(values, 1)))
        self._by_size = {
            size: UnrolledCorrelation(_as_one_sample(geometry, size), workspace)
            for size in {self._samples, geometry.num % self._samples}
            if size
        }

    def to_maps(self, images: Array, filters: Array, biases: Array | None, maps: Array) -> None:
        """See Correlation."""
        for samples in self._parts():
            inputs, outputs = self._last("images", images[samples]), self._last("maps", maps[samples], load=False)
            self._by_size[inputs.shape[-1]].to_maps(inputs, filters, biases, outputs)
            maps[samples] = np.moveaxis(outputs[0], -1, 0)

    def to_images(self, maps: Array, filters: Array, images: Array) -> None:
        """See Correlation."""
        for samples in self._parts():
            inputs, outputs = self._last("maps", maps[samples]), self._last("images", images[samples], load=False)
            self._by_size[inputs.shape[-1]].to_images(inputs, filters, outputs)
            images[samples] = np.moveaxis(outputs[0], -1, 0)

    def add_filter_gradient(self, images: Array, maps: Array, gradient: Array) -> None:
        """See Correlation."""
        for samples in self._parts():
            inputs, weights = self._last("images", images[samples]), self._last("maps", maps[samples])
            self._by_size[inputs.shape[-1]].add_filter_gradient(inputs, weights, gradient)

    def _parts(self) -> Iterator[slice]:
        return (slice(start, start + self._samples) for start in range(0, self._geometry.num, self._samples))

    def _last(self, name: str, samples: Array, *, load: bool = True) -> Array:
        """Memory for samples (n, ...) as one of shape (1, ..., n), filled with them or not."""
        last = np.moveaxis(samples, 0, -1)
        copy = self._workspace.array(name, last.shape)
        if load:
            np.copyto(copy, last)
        return copy[np.newaxis]


def _as_one_sample(geometry: Geometry, num: int) -> Geometry:
    window = geometry.window
    longer = Window((*window.kernel, 1), (*window.stride, 1), (*window.pad, 0), (*window.dilation, 1))
    return replace(geometry, num=1, image=(*geometry.image, num), places=(*geometry.places, num), window=longer)


class FlippingCorrelation:
    """A correlation whose transpose is the correlation of the maps with flipped filters."""

    def __init__(self, geometry: Geometry, straight: Correlation, flipped: Correlation, workspace: Scratch) -> None:
        self._group = geometry.group
        self._straight = straight
        self._flipped = flipped
        self._workspace = workspace

    def to_maps(self, images: Array, filters: Array, biases: Array | None, maps: Array) -> None:
        """See Correlation."""
        self._straight.to_maps(images, filters, biases, maps)

    def to_images(self, maps: Array, filters: Array, images: Array) -> None:
        """See Correlation."""
        groups = filters.reshape(self._group, -1, *filters.shape[1:])
        swapped = np.flip(groups, tuple(range(3, groups.ndim))).swapaxes(1, 2)
        flipped = self._workspace.array("flipped", swapped.shape)
        np.copyto(flipped, swapped)
        self._flipped.to_maps(maps, flipped, None, images)

    def add_filter_gradient(self, images: Array, maps: Array, gradient: Array) -> None:
        """See Correlation."""
        self._straight.add_filter_gradient(images, maps, gradient)


def flipped_geometry(geometry: Geometry) -> Geometry | None:
    """The correlation of maps with flipped filters that is the transpose of another, where that is the faster way.

    Copying maps into columns is two to three times as fast as summing columns into images. None where the steps, the
    padding, or too many maps or places speak against it.
    """
    window = geometry.window
    pad = tuple(
        dilation * (kernel - 1) - pad
        for kernel, pad, dilation in zip(window.kernel, window.pad, window.dilation, strict=True)
    )
    copied, summed = geometry.num_maps * math.prod(geometry.image), geometry.channels * geometry.num_places
    if window.is_identity or set(window.stride) != {1} or min(pad) < 0 or 2 * copied > 3 * summed:
        return None
    return replace(
        geometry,
        channels=geometry.num_maps,
        num_maps=geometry.channels,
        image=geometry.places,
        places=geometry.image,
        window=replace(window, pad=pad),
    )
