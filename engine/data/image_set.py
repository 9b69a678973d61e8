"""Sets of images to and from databases: what convert-imageset and compute-image-mean do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.data.databases import Backend, Record, open_database, record_name
from farlayer.engine.data.datum import DatumDecoder, datum_of_file, datum_of_pixels, parse_datum
from farlayer.engine.data.image_list import ImageList, ListedImage
from farlayer.engine.data.images import ImageLibrary, Pixels, image_library
from farlayer.protos.errors import InputError

_SAME_KIND = {"jpeg": "jpg"}


@dataclass(frozen=True)
class ImageSetConverter:
    """Makes the records of a database from a list of images.

    Attributes:
        root_folder: put before each path as it is.
        gray: one channel, else three.
        size: height and width to resize to; None to leave them.
        check_size: whether all images must have one shape. Differs from Caffe, which compares the bytes of their data
            with what the first image's shape asks for: images kept as files never pass there, and one turned by 90
            degrees does.
        encoded: whether images are kept as files; where nothing has to be changed, as those that are read.
        encode_type: of those files: "jpg", "png", ...; "" for that of the file that is read.

    Source: Caffe, tools/convert_imageset.cpp, src/caffe/util/io.cpp.
    """

    root_folder: str
    gray: bool = False
    size: tuple[int, int] | None = None
    check_size: bool = False
    encoded: bool = False
    encode_type: str = ""
    _library: ImageLibrary = field(default_factory=image_library, init=False)

    def records(self, images: ImageList) -> Iterator[Record | InputError]:
        """Reads the images of a list in its order. An image that cannot be read gives the error instead of a record.

        Raises:
            InputError: with check_size, where an image has another shape than the first one.
        """
        first: tuple[int, ...] = ()
        for index, image in enumerate(images.images):
            name = images.name(image)
            try:
                shape, value = self._convert(images.read(image, self.root_folder), image, name)
            except InputError as error:
                yield error
                continue
            first = first or shape
            if self.check_size and shape != first:
                raise InputError(
                    f"{name} has height, width and channels {shape}, the first image has {first}",
                    remedy="resize the images (--resize-height, --resize-width), or leave --check-size out",
                )
            yield f"{index:08}_{image.path}".encode("utf-8", "surrogateescape"), value

    def _convert(self, content: bytes, image: ListedImage, name: str) -> tuple[tuple[int, ...], bytes]:
        """The shape of an image, and the Datum that holds it."""
        pixels = self._library.decode(content, "gray" if self.gray else "color", name)
        if self.size is not None:
            pixels = self._library.resize(pixels, *self.size)
        own_kind = PurePath(image.path).suffix[1:].lower()
        kind = self.encode_type or own_kind
        if not self.encoded and not self.encode_type:
            datum = datum_of_pixels(pixels, image.label)
        elif self.size is None and _same_kind(kind) == _same_kind(own_kind):
            datum = datum_of_file(content, image.label)
        elif kind:
            datum = datum_of_file(self._encode(pixels, kind, name), image.label)
        else:
            raise InputError(f"{name} has no suffix that says how to encode it", remedy="give --encode-type")
        return pixels.shape, datum.SerializeToString()

    def _encode(self, pixels: Pixels, kind: str, name: str) -> bytes:
        try:
            return self._library.encode(pixels, kind)
        except InputError as error:
            raise InputError(f"{name}: {error.message}", remedy=error.remedy) from error


def _same_kind(kind: str) -> str:
    return _SAME_KIND.get(kind.lower(), kind.lower())


class MeanImage:
    """The mean of the images of a database.

    Sums are float32 and added in the order of the records, so that the file has the bytes that Caffe's tool writes.

    Attributes:
        count: how many images were added.

    Source: Caffe, tools/compute_image_mean.cpp.
    """

    def __init__(self) -> None:
        self.count = 0
        self._sum: NDArray[np.float32] | None = None
        self._decoder = DatumDecoder()

    def add(self, value: bytes, name: str) -> None:
        """Adds the image of a record; `name` says in errors which one.

        Raises:
            InputError: it is damaged, or has another shape than the first one.
        """
        planes = self._decoder.planes(parse_datum(value, name), name)
        if self._sum is None:
            self._sum = np.zeros(planes.shape, np.float32)
        if planes.shape != self._sum.shape:
            raise InputError(
                f"{name} has channels, height and width {planes.shape}, the first image has {self._sum.shape}",
                remedy="make the database with images of one size (--resize-height, --resize-width)",
            )
        self._sum += planes
        self.count += 1

    def image(self) -> NDArray[np.float32]:
        """The mean so far: (channels, height, width).

        Raises:
            InputError: there was no image.
        """
        if self._sum is None:
            raise InputError("the database is empty", remedy="make it with farlayer convert-imageset")
        return self._sum / np.float32(self.count)


@contextmanager
def named_records(source: str, backend: Backend) -> Iterator[Iterator[tuple[str, bytes]]]:
    """Opens a database; inside `with` its records come once: what each is called in errors, and its value.

    Raises:
        InputError: the database cannot be read.
    """
    with closing(open_database(source, backend)) as database, closing(database.records()) as records:
        yield ((record_name(key, source), value) for key, value in records)
