import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlayer.engine.data.bilinear import resize_bilinear
from farlayer.engine.data.images import Pixels
from tests.engine.data.support import image

SIZES = st.integers(1, 20)


def resized_by_the_formula(pixels: Pixels, height: int, width: int) -> np.ndarray:
    """Each new pixel by itself, in exact arithmetic."""
    out = np.empty((height, width, pixels.shape[2]))
    for row in range(height):
        for column in range(width):
            y = min(max((row + 0.5) * pixels.shape[0] / height - 0.5, 0), pixels.shape[0] - 1)
            x = min(max((column + 0.5) * pixels.shape[1] / width - 0.5, 0), pixels.shape[1] - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, pixels.shape[0] - 1), min(left + 1, pixels.shape[1] - 1)
            upper = pixels[top, left] * (1 - (x - left)) + pixels[top, right] * (x - left)
            lower = pixels[bottom, left] * (1 - (x - left)) + pixels[bottom, right] * (x - left)
            out[row, column] = upper * (1 - (y - top)) + lower * (y - top)
    return out


@settings(max_examples=25, deadline=None)
@given(SIZES, SIZES, SIZES, SIZES, st.sampled_from([1, 3]))
def test_it_is_bilinear_with_centres_at_halves_and_repeated_edges(
    height: int, width: int, new_height: int, new_width: int, channels: int
) -> None:
    pixels = image(height, width, channels)
    expected = resized_by_the_formula(pixels, new_height, new_width)
    # Half a step of rounding at the end, the rest for weights of 11 bits and for rounding in between.
    assert np.abs(resize_bilinear(pixels, new_height, new_width) - expected).max() < 1


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.sampled_from([1, 3, 4]))
def test_it_has_the_bits_of_opencv(height: int, width: int, new_height: int, new_width: int, channels: int) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    pixels = image(height, width, channels)
    expected = cv2.resize(pixels, (new_width, new_height)).reshape(new_height, new_width, channels)
    np.testing.assert_array_equal(resize_bilinear(pixels, new_height, new_width), expected)


def test_the_size_of_the_image_itself_changes_nothing() -> None:
    pixels = image(7, 5)
    np.testing.assert_array_equal(resize_bilinear(pixels, 7, 5), pixels)
