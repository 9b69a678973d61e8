"""Datum messages, the records of Caffe's databases: to pixels and back."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from farlayer.engine.data.images import Color, ImageLibrary, Pixels, image_library
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import InputError

Planes: TypeAlias = NDArray[np.uint8] | NDArray[np.float32]
"""An image as a net has it: (channels, height, width)."""


def parse_datum(content: bytes, name: str) -> caffe_pb2.Datum:
    """Reads a Datum; `name` says in errors which one.

    Raises:
        InputError: it is damaged.
    """
    datum = caffe_pb2.Datum()
    try:
        datum.ParseFromString(content)
    except DecodeError as error:
        raise InputError(
            f"{name} is truncated or no Datum message ({len(content)} bytes)", remedy="make the database again"
        ) from error
    return datum


class DatumDecoder:
    """Takes the pixels out of Datum messages.

    Args:
        color: the channels of images that are kept as files; "native" for those of the file.
    """

    def __init__(self, color: Color = "native") -> None:
        self._color = color
        self._library: ImageLibrary | None = None

    def planes(self, datum: caffe_pb2.Datum, name: str) -> Planes:
        """The pixels of a Datum, which it may share; `name` says in errors which one.

        Raises:
            InputError: they cannot be decoded, or their number is not that of the stated size.
        """
        if datum.encoded:
            if self._library is None:
                self._library = image_library()
            return planes_of(self._library.decode(datum.data, self._color, name))
        shape = (datum.channels, datum.height, datum.width)
        content = datum.data
        values: Planes = np.frombuffer(content, np.uint8) if content else np.array(datum.float_data, np.float32)
        if min(shape) < 1 or values.size != shape[0] * shape[1] * shape[2]:
            raise InputError(
                f"{name} holds {values.size} values, expected channels x height x width: {' x '.join(map(str, shape))}",
                remedy="make the database again",
            )
        return values.reshape(shape)


def planes_of(pixels: Pixels) -> NDArray[np.uint8]:
    """Views an image in OpenCV's form as a net has it."""
    return pixels.transpose(2, 0, 1)


def datum_of_pixels(pixels: Pixels, label: int) -> caffe_pb2.Datum:
    """Makes a Datum that holds an image as plain pixels, with the fields that Caffe's tools set."""
    height, width, channels = pixels.shape
    return caffe_pb2.Datum(
        channels=channels,
        height=height,
        width=width,
        data=planes_of(pixels).tobytes(),
        label=label,
        encoded=False,
    )


def datum_of_file(content: bytes, label: int) -> caffe_pb2.Datum:
    """Makes a Datum that holds an image as a file, with the fields that Caffe's tools set."""
    return caffe_pb2.Datum(data=content, label=label, encoded=True)
