"""Samples, one after the other without end, and the batches that are made of them."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import NamedTuple, Protocol

import numpy as np

from farlayer.engine.data.databases import Backend, Database, Record, open_database, record_name
from farlayer.engine.data.datum import DatumDecoder, Planes, parse_datum, planes_of
from farlayer.engine.data.image_list import ImageList
from farlayer.engine.data.images import Color, image_library
from farlayer.engine.data.prefetch import Batch
from farlayer.engine.data.transformer import Transformer
from farlayer.protos.errors import InputError


class Sample(NamedTuple):
    """One image.

    Attributes:
        planes: its pixels.
        label: its label.
        name: what it is called in errors.
    """

    planes: Planes
    label: int
    name: str


class Samples(Protocol):
    """An endless row of samples."""

    def first(self) -> Sample:
        """Reads the first one; leaves nothing open."""

    def next(self) -> Sample:
        """Reads the next one."""

    def close(self) -> None:
        """Gives back what is open."""


class SampleBatches:
    """A BatchSource of transformed samples; each batch has the shape that its first sample asks for."""

    def __init__(self, samples: Samples, transformer: Transformer, batch_size: int) -> None:
        self._samples = samples
        self._transformer = transformer
        self._batch_size = batch_size

    def shape(self) -> tuple[int, ...]:
        """See BatchSource."""
        sample = self._samples.first()
        return (self._batch_size, *self._transformer.shape_of(sample.planes.shape, sample.name))

    def fill(self, batch: Batch) -> Iterator[None]:
        """See BatchSource."""
        for index in range(self._batch_size):
            sample = self._samples.next()
            if not index:
                batch.reshape((self._batch_size, *self._transformer.shape_of(sample.planes.shape, sample.name)))
            self._transformer.place(sample.planes, batch.data[index], sample.name)
            batch.labels[index] = sample.label
            yield
        self._transformer.finish(batch.data)

    def close(self) -> None:
        """See BatchSource."""
        self._samples.close()


class DatumSamples:
    """The Datum messages of a database in the order of their keys, over and over.

    Args:
        source, backend: the database.
        decoder: takes out the pixels.
        labelled: whether every Datum must have a label.
    """

    def __init__(self, source: str, backend: Backend, decoder: DatumDecoder, *, labelled: bool) -> None:
        self._source = source
        self._path = os.path.abspath(source)  # the working directory may change before the first batch
        self._backend = backend
        self._decoder = decoder
        self._labelled = labelled
        self._database: Database | None = None
        self._records: Generator[Record] | None = None

    def first(self) -> Sample:
        """See Samples."""
        try:
            return self.next()
        finally:
            self.close()

    def next(self) -> Sample:
        """See Samples."""
        record = next(self._records, None) if self._records is not None else None
        return self._sample(*(record or self._restart()))

    def close(self) -> None:
        """See Samples."""
        if self._records is not None:
            self._records.close()
            self._records = None
        if self._database is not None:
            self._database.close()
            self._database = None

    def _restart(self) -> Record:
        """Goes to the first record."""
        if self._database is None:
            self._database = open_database(self._path, self._backend)
        self._records = self._database.records()
        record = next(self._records, None)
        if record is None:
            raise InputError(f"the database '{self._source}' is empty", remedy="make it with farlayer convert-imageset")
        return record

    def _sample(self, key: bytes, value: bytes) -> Sample:
        name = record_name(key, self._source)
        datum = parse_datum(value, name)
        if self._labelled and not datum.HasField("label"):
            raise InputError(
                f"{name} has no label, but the layer has a second top, for labels",
                remedy="remove the second top, or make the database with labels",
            )
        return Sample(self._decoder.planes(datum, name), datum.label, name)


class ListedSamples:
    """The images of a list, over and over.

    Args:
        images: the list.
        root_folder: put before each path as it is.
        color: the channels.
        size: height and width to resize to; None to leave them.
        first: which one to begin with.
        shuffle: where random numbers for a new order in each round come from; None to keep the order.
    """

    def __init__(
        self,
        images: ImageList,
        root_folder: str,
        *,
        color: Color,
        size: tuple[int, int] | None,
        first: int,
        shuffle: np.random.Generator | None,
    ) -> None:
        self._images = images
        self._root_folder = root_folder
        self._color = color
        self._size = size
        self._next = first
        self._shuffle = shuffle
        self._order = np.arange(len(images.images))
        if shuffle is not None:
            shuffle.shuffle(self._order)
        self._library = image_library()

    def first(self) -> Sample:
        """See Samples."""
        return self._sample()

    def next(self) -> Sample:
        """See Samples."""
        sample = self._sample()
        self._next += 1
        if self._next == len(self._order):
            self._next = 0
            if self._shuffle is not None:
                self._shuffle.shuffle(self._order)
        return sample

    def close(self) -> None:
        """See Samples: nothing is open."""

    def _sample(self) -> Sample:
        image = self._images.images[self._order[self._next]]
        name = self._images.name(image)
        pixels = self._library.decode(self._images.read(image, self._root_folder), self._color, name)
        if self._size is not None:
            pixels = self._library.resize(pixels, *self._size)
        return Sample(planes_of(pixels), image.label, name)
