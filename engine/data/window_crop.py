"""Where a window lies in its image, with context around it, and where it goes in the square that the net sees."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from farlayer.protos.errors import InputError

_F = np.float32  # the arithmetic is Caffe's, so that edges are rounded to the same pixel


@dataclass(frozen=True)
class WindowCrop:
    """How windows become squares of `size` pixels.

    Attributes:
        size: side of the square.
        context_pad: pixels of the square, on each side, that show what is around the window.
        square: the window is first made a square around its centre, so that it keeps its proportions.
    """

    size: int
    context_pad: int
    square: bool

    def place(self, box: tuple[int, int, int, int], image: tuple[int, int], *, mirrored: bool, name: str) -> Placement:
        """Finds the part of an image to take, and where it goes.

        Args:
            box: x1, y1, x2, y2: the window's first and last pixel.
            image: height and width.
            mirrored: whether the part will be mirrored, and what is missing beside it with it.
            name: of the window, for errors.

        Raises:
            InputError: nothing of it lies in the image; without context: not all of it.

        Source: Caffe, src/caffe/layers/window_data_layer.cpp.
        """
        x1, y1, x2, y2 = box
        if not self.context_pad and not self.square:
            if x1 < 0 or y1 < 0 or x2 >= image[1] or y2 >= image[0] or x2 < x1 or y2 < y1:
                raise _outside(name, image)
            return Placement(slice(y1, y2 + 1), slice(x1, x2 + 1), (self.size, self.size), (0, 0))
        half_height, half_width = _F(y2 - y1 + 1) / _F(2), _F(x2 - x1 + 1) / _F(2)
        middle = _F(y1) + half_height, _F(x1) + half_width
        if self.square:
            half_height = half_width = max(half_height, half_width)
        rows, height, above, _ = self._fit(middle[0], half_height, image[0])
        columns, width, left, right = self._fit(middle[1], half_width, image[1])
        beside = right if mirrored else left
        # Rounding may have made the part and what is missing beside it larger than the square.
        height, width = min(height, self.size - above), min(width, self.size - beside)
        if height < 1 or width < 1:
            raise _outside(name, image)
        return Placement(rows, columns, (height, width), (above, beside))

    def _fit(self, middle: np.float32, half: np.float32, limit: int) -> tuple[slice, int, int, int]:
        """Along one axis: the part inside the image, its size in the square, and what is missing before and behind."""
        context = _F(self.size) / _F(self.size - 2 * self.context_pad)
        first, last = _round(middle - half * context), _round(middle + half * context)
        scale = _F(self.size) / _F(last - first + 1)
        inside = slice(max(first, 0), min(last, limit - 1) + 1)
        missing = max(0, -first), max(0, last - limit + 1)
        before, behind = (_round(_F(pixels) * scale) for pixels in missing)
        return inside, _round(_F(max(inside.stop - inside.start, 0)) * scale), before, behind


@dataclass(frozen=True)
class Placement:
    """Which part of an image goes where.

    Attributes:
        rows, columns: the part of the image.
        size: height and width that it is resized to.
        corner: row and column of the square where it begins.
    """

    rows: slice
    columns: slice
    size: tuple[int, int]
    corner: tuple[int, int]


def _round(value: np.float32) -> int:
    """To the nearest whole number; halves away from zero."""
    return int(math.copysign(math.floor(abs(float(value)) + 0.5), value))


def _outside(name: str, image: tuple[int, int]) -> InputError:
    return InputError(
        f"{name} does not lie in the image, which is {image[0]} high and {image[1]} wide",
        remedy="correct the window, which counts pixels from 0",
    )
