import io
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from farlayer.engine.data.images import Color, ImageLibrary, Pixels, image_library, read_file
from farlayer.engine.data.opencv_images import OpenCVImages
from farlayer.engine.data.pillow_images import PillowImages
from farlayer.protos.errors import InputError
from tests.engine.data.support import image

ORIENTATION = 0x0112
TURNED_LEFT = 6


@pytest.fixture(params=["Pillow", "OpenCV"])
def library(request: pytest.FixtureRequest) -> ImageLibrary:
    """Each library that is installed."""
    if request.param == "Pillow":
        return PillowImages()
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    return OpenCVImages()


def smooth() -> Pixels:
    """An image that JPEG keeps well."""
    rows, columns = np.mgrid[:40, :60]
    return np.stack([4 * columns, 6 * rows, 255 - 4 * columns], axis=2).astype(np.uint8)


def file_of(pixels: np.ndarray, kind: str, mode: str = "", **options: Any) -> bytes:
    """A file that Pillow makes of pixels in its own order: red, green, blue."""
    stream = io.BytesIO()
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(stream, kind, **options)
    return stream.getvalue()


def test_colours_come_as_blue_green_red(library: ImageLibrary) -> None:
    pixels = image(5, 4)
    decoded = library.decode(file_of(pixels, "PNG"), "color", "x")
    np.testing.assert_array_equal(decoded, pixels[:, :, ::-1])
    assert decoded.dtype == np.uint8


def test_brightness_is_that_of_the_television_norm(library: ImageLibrary) -> None:
    pixels = image(5, 4)
    decoded = library.decode(file_of(pixels, "PNG"), "gray", "x")
    assert decoded.shape == (5, 4, 1)
    assert np.abs(decoded[:, :, 0] - pixels @ [0.299, 0.587, 0.114]).max() <= 1


@pytest.mark.parametrize(
    ("mode", "channels"), [("RGB", 3), ("RGBA", 4), ("L", 1), ("LA", 4), ("P", 3), ("1", 1)], ids=str
)
def test_native_channels_are_those_of_the_file(library: ImageLibrary, mode: str, channels: int) -> None:
    content = file_of(image(5, 4), "PNG", mode)
    assert library.decode(content, "native", "x").shape == (5, 4, channels)
    assert library.decode(content, "color", "x").shape == (5, 4, 3)
    assert library.decode(content, "gray", "x").shape == (5, 4, 1)


def test_alpha_comes_last_and_mixes_with_nothing(library: ImageLibrary) -> None:
    pixels = image(5, 4, 4)
    content = file_of(pixels, "PNG")
    np.testing.assert_array_equal(library.decode(content, "native", "x"), pixels[:, :, [2, 1, 0, 3]])
    np.testing.assert_array_equal(library.decode(content, "color", "x"), pixels[:, :, [2, 1, 0]])


def test_exif_turns_images_but_native_ones(library: ImageLibrary) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = TURNED_LEFT
    content = file_of(smooth(), "JPEG", exif=exif)
    assert library.decode(content, "color", "x").shape == (60, 40, 3)
    assert library.decode(content, "gray", "x").shape == (60, 40, 1)
    assert library.decode(content, "native", "x").shape == (40, 60, 3)


@pytest.mark.parametrize("kind", ["jpg", "JPEG", "png", "bmp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_encoding_and_decoding_gives_the_image_back(library: ImageLibrary, kind: str, channels: int) -> None:
    pixels = np.ascontiguousarray(smooth()[:, :, :channels])
    decoded = library.decode(library.encode(pixels, kind), "native", "x")
    assert decoded.shape == pixels.shape
    assert np.abs(decoded.astype(int) - pixels).max() <= (12 if kind.lower().startswith("j") else 0)


def test_images_of_16_bits_are_cut_to_8_and_refused_as_they_are(library: ImageLibrary) -> None:
    pixels = np.random.default_rng(0).integers(0, 1 << 16, (5, 4)).astype(np.uint16)
    content = file_of(pixels, "PNG")
    for color in ("gray", "color"):
        decoded = library.decode(content, color, "x")
        np.testing.assert_array_equal(decoded, np.repeat((pixels >> 8)[..., np.newaxis], decoded.shape[2], axis=2))
    with pytest.raises(InputError, match=r"^x has channels of .*16.*, expected 8"):
        library.decode(content, "native", "x")


@pytest.mark.parametrize(
    "content", [b"", b"no image", file_of(smooth(), "PNG")[:-2000], file_of(smooth(), "PNG")[:40]], ids=len
)
def test_what_is_no_image_is_refused_by_name(library: ImageLibrary, content: bytes) -> None:
    with pytest.raises(InputError, match=rf"image 'x\.png' is no image that .* can decode \({len(content)} bytes\)"):
        library.decode(content, "color", "image 'x.png'")


def test_an_unknown_kind_of_file_is_refused(library: ImageLibrary) -> None:
    with pytest.raises(InputError, match="'nonsense'") as error:
        library.encode(smooth(), "nonsense")
    assert "png" in error.value.remedy


def test_a_kind_that_cannot_hold_the_image_is_refused() -> None:
    with pytest.raises(InputError, match=r"cannot encode an image of shape \(5, 4, 4\) as 'jpg'"):
        PillowImages().encode(image(5, 4, 4), "jpg")


@pytest.mark.parametrize("color", ["color", "gray", "native"])
@pytest.mark.parametrize(
    ("kind", "mode"),
    [("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "LA"), ("JPEG", "RGB"), ("JPEG", "L"), ("BMP", "RGB")],
)
def test_both_libraries_give_the_same_pixels(kind: str, mode: str, color: Color) -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    content = file_of(smooth(), kind, mode)
    ours, theirs = (each.decode(content, color, "x") for each in (PillowImages(), OpenCVImages()))
    assert ours.shape == theirs.shape
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_resizing_keeps_the_channels(library: ImageLibrary) -> None:
    assert library.resize(image(5, 4, 1), 3, 2).shape == (3, 2, 1)
    assert library.resize(image(5, 4, 3), 3, 2).shape == (3, 2, 3)


def test_opencv_comes_before_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert isinstance(image_library(), PillowImages)
    monkeypatch.undo()
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    assert isinstance(image_library(), OpenCVImages)


def test_without_any_library_both_extras_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("cv2", "PIL.Image"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match="reading images needs OpenCV or Pillow") as error:
        image_library()
    assert "pip install 'farlayer[image]'" in error.value.remedy
    assert "farlayer[opencv]" in error.value.remedy


@pytest.mark.parametrize(("path", "reason"), [("/nowhere/x", "No such file"), ("/", "Is a directory"), ("\0", "null")])
def test_a_file_that_cannot_be_read_is_refused(path: str, reason: str) -> None:
    with pytest.raises(InputError, match=f"^image 'x': cannot read '.*': .*{reason}"):
        read_file(path, "image 'x'")
