"""Image files to pixels and back, by OpenCV where it is installed, else by Pillow."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.data.opencv_images import OpenCVImages
from farlayer.engine.data.pillow_images import PillowImages
from farlayer.engine.optional import find, install
from farlayer.protos.errors import InputError

Pixels: TypeAlias = NDArray[np.uint8]
"""An image: (height, width, channels), channels in OpenCV's order: blue, green, red, and alpha where there is one."""

Color: TypeAlias = Literal["color", "gray", "native"]
"""Which channels to decode: three, one, or those of the file."""


class ImageLibrary(Protocol):
    """What the engine needs of a library that knows image files."""

    def decode(self, content: bytes, color: Color, name: str) -> Pixels:
        """Decodes the content of an image file; `name` says in errors what it is.

        Orientation in Exif counts for "color" and "gray", as in OpenCV.

        Raises:
            InputError: it is none, is damaged, or has other than 8 bits a channel.
        """

    def encode(self, pixels: Pixels, kind: str) -> bytes:
        """Encodes an image as a file of a kind: "jpg", "png", ...

        Raises:
            InputError: the kind is unknown, or cannot hold such an image.
        """

    def resize(self, pixels: Pixels, height: int, width: int) -> Pixels:
        """Resizes an image as cv::resize does with INTER_LINEAR."""


def image_library() -> ImageLibrary:
    """Gives the library that is there.

    Raises:
        InputError: there is none; names the extras.
    """
    if find("cv2") is not None:
        return OpenCVImages()
    if find("PIL.Image") is not None:
        return PillowImages()
    raise InputError(
        "reading images needs OpenCV or Pillow, and neither can be imported",
        remedy=f"{install('image')}, or farlayer[opencv] for OpenCV",
    )


def read_file(path: str, name: str, *, remedy: str = "check the path") -> bytes:
    """Reads a file whole; `name` says in errors what it is.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{name}: cannot read '{path}': {reason}", remedy=remedy) from error
