"""Images by OpenCV: decoding, encoding and resizing are those of Caffe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from farlayer.engine.optional import need
from farlayer.protos.errors import InputError

if TYPE_CHECKING:
    from farlayer.engine.data.images import Color, Pixels

_FLAGS = {"color": "IMREAD_COLOR", "gray": "IMREAD_GRAYSCALE", "native": "IMREAD_UNCHANGED"}


class OpenCVImages:
    """See ImageLibrary."""

    def __init__(self) -> None:
        self._cv2: Any = need("cv2", "reading images")

    def decode(self, content: bytes, color: Color, name: str) -> Pixels:
        """See ImageLibrary."""
        try:
            pixels = self._cv2.imdecode(np.frombuffer(content, np.uint8), getattr(self._cv2, _FLAGS[color]))
        except self._cv2.error as error:
            raise _undecodable(name, content) from error
        if pixels is None:
            raise _undecodable(name, content)
        if pixels.dtype != np.uint8:
            raise InputError(f"{name} has channels of type {pixels.dtype}, expected 8 bits", remedy="convert the image")
        image: Pixels = pixels.reshape(*pixels.shape[:2], -1)
        return image

    def encode(self, pixels: Pixels, kind: str) -> bytes:
        """See ImageLibrary."""
        try:
            done, content = self._cv2.imencode(f".{kind}", pixels)
        except self._cv2.error as error:
            raise InputError(
                f"OpenCV cannot encode an image of shape {pixels.shape} as '{kind}'", remedy="use png or jpg"
            ) from error
        assert done, "imencode raises where it fails"
        encoded: bytes = content.tobytes()
        return encoded

    def resize(self, pixels: Pixels, height: int, width: int) -> Pixels:
        """See ImageLibrary."""
        resized: Pixels = self._cv2.resize(pixels, (width, height), interpolation=self._cv2.INTER_LINEAR)
        return resized.reshape(height, width, -1)


def _undecodable(name: str, content: bytes) -> InputError:
    return InputError(f"{name} is no image that OpenCV can decode ({len(content)} bytes)", remedy="check the file")
