"""Where the windows of a pooling layer lie in its images."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pair = tuple[int, int]


@dataclass(frozen=True)
class PoolWindows:
    """The windows over images of one size. All pairs are height first.

    Attributes:
        kernel: their extent.
        stride: how far one is from the next.
        pad: what is put around the image.
        size: of the image.
        floor: whether the number of windows is rounded down instead of up.

    Source: Caffe, src/caffe/layers/pooling_layer.cpp.
    """

    kernel: Pair
    stride: Pair
    pad: Pair
    size: Pair
    floor: bool = False

    @property
    def pooled(self) -> Pair:
        """How many windows there are along each axis; less than 1 where they do not fit."""
        return self._pooled(0), self._pooled(1)

    def _pooled(self, axis: int) -> int:
        stride, padded = self.stride[axis], self.size[axis] + 2 * self.pad[axis]
        count = (math.floor if self.floor else math.ceil)((padded - self.kernel[axis]) / stride) + 1
        # With padding, the last window must not start behind the image.
        if any(self.pad) and (count - 1) * stride >= self.size[axis] + self.pad[axis]:
            count -= 1
        return count

    def elements(self) -> Iterator[tuple[int, tuple[slice, slice], tuple[slice, slice]]]:
        """For each element of the kernel: its number from 1, the places of the image that it falls on, their windows.

        Elements that fall on no place are left out.
        """
        for row, column in itertools.product(range(self.kernel[0]), range(self.kernel[1])):
            rows, columns = self._span(0, row), self._span(1, column)
            if rows is not None and columns is not None:
                yield row * self.kernel[1] + column + 1, (rows[0], columns[0]), (rows[1], columns[1])

    def spans(self, axis: int) -> Iterator[tuple[slice, slice]]:
        """As `elements`, along one axis."""
        spans = (self._span(axis, offset) for offset in range(self.kernel[axis]))
        return (span for span in spans if span is not None)

    def _span(self, axis: int, offset: int) -> tuple[slice, slice] | None:
        stride, shift = self.stride[axis], offset - self.pad[axis]
        first = max(0, -(shift // stride))
        last = min(self._pooled(axis) - 1, (self.size[axis] - 1 - shift) // stride)
        if last < first:
            return None
        start = first * stride + shift
        return slice(start, last * stride + shift + 1, stride), slice(first, last + 1)

    def areas(self) -> NDArray[np.float32]:
        """For each window its extent inside the padded image: what an average divides by."""
        extents = []
        for axis in (0, 1):
            starts = self._starts(axis)
            ends = np.minimum(starts + self.kernel[axis], self.size[axis] + self.pad[axis])
            # A window that lies wholly outside is empty: its sum of 0 is divided by 1.
            extents.append(np.maximum(ends - starts, 1))
        return np.outer(*extents).astype(np.float32)

    def places(self, numbers: NDArray[np.integer]) -> NDArray[np.intp]:
        """Turns element numbers into places h * W + w of the image; 0, for no element, into -1.

        Args:
            numbers: shape (..., windows along height, windows along width).
        """
        row, column = np.divmod(numbers.astype(np.intp) - 1, self.kernel[1])
        places = (self._starts(0)[:, None] + row) * self.size[1] + self._starts(1) + column
        return np.where(numbers == 0, -1, places)

    def _starts(self, axis: int) -> NDArray[np.intp]:
        return np.arange(self._pooled(axis)) * self.stride[axis] - self.pad[axis]
