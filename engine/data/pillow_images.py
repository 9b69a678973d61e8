"""Images by Pillow, in the form that OpenCV gives them: channels in its order, resizing to the bit as it does."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from farlayer.engine.data.bilinear import resize_bilinear
from farlayer.engine.optional import need
from farlayer.protos.errors import InputError

if TYPE_CHECKING:
    from farlayer.engine.data.images import Color, Pixels

_NATIVE_MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "LA": "RGBA"}
_CHANNEL_ORDER = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}
_JPEG = {"quality": 95, "subsampling": "4:2:0"}  # OpenCV's


class PillowImages:
    """See ImageLibrary. Pixels of JPEG files may differ from OpenCV's by rounding."""

    def __init__(self) -> None:
        self._pil: Any = need("PIL.Image", "reading images")

    def decode(self, content: bytes, color: Color, name: str) -> Pixels:
        """See ImageLibrary."""
        try:
            with self._pil.open(io.BytesIO(content)) as image:
                pixels = np.asarray(self._converted(image, color, name))
        # What Pillow's readers raise at damaged files: documented are the first two.
        except (OSError, ValueError, SyntaxError, EOFError, self._pil.DecompressionBombError) as error:
            raise InputError(
                f"{name} is no image that Pillow can decode ({len(content)} bytes): {error}", remedy="check the file"
            ) from error
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        if pixels.dtype != np.uint8:  # 16 bits
            pixels = (pixels >> 8).astype(np.uint8)
        if color == "color" and pixels.shape[2] == 1:
            pixels = np.repeat(pixels, 3, axis=2)
        return np.ascontiguousarray(pixels[:, :, _CHANNEL_ORDER[pixels.shape[2]]])

    def encode(self, pixels: Pixels, kind: str) -> bytes:
        """See ImageLibrary."""
        suffix = f".{kind.lower()}"
        name = self._pil.registered_extensions().get(suffix)
        if name is None or name not in self._pil.SAVE:
            raise InputError(f"Pillow knows no image files of the kind '{kind}'", remedy="use png or jpg")
        ordered = pixels[:, :, _CHANNEL_ORDER[pixels.shape[2]]]
        stream = io.BytesIO()
        try:
            self._pil.fromarray(ordered.squeeze(2) if ordered.shape[2] == 1 else np.ascontiguousarray(ordered)).save(
                stream, name, **(_JPEG if name == "JPEG" else {})
            )
        except (OSError, ValueError) as error:
            raise InputError(
                f"Pillow cannot encode an image of shape {pixels.shape} as '{kind}': {error}", remedy="use png or jpg"
            ) from error
        return stream.getvalue()

    def resize(self, pixels: Pixels, height: int, width: int) -> Pixels:
        """See ImageLibrary."""
        return resize_bilinear(pixels, height, width)

    def _converted(self, image: Any, color: Color, name: str) -> Any:  # noqa: ANN401  # PIL.Image.Image
        """The image with the channels asked for, loaded; one of 16 bits stays as it is."""
        if color == "gray" and image.format == "JPEG":
            image.draft("L", image.size)  # brightness as it is in the file, not computed back from the colours
        if color != "native":
            image = need("PIL.ImageOps", "reading images").exif_transpose(image)
        if image.mode.startswith("I"):
            if color == "native":
                raise InputError(f"{name} has channels of 16 bits, expected 8", remedy="convert the image")
            return image.convert("I")
        if image.mode == "F":
            raise InputError(f"{name} has channels of type float, expected 8 bits", remedy="convert the image")
        if color == "native":
            has_alpha = image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info
            return image.convert("RGBA" if has_alpha else _NATIVE_MODES.get(image.mode, "RGB"))
        return image.convert("L" if color == "gray" else "RGB")
