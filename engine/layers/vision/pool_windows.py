"""Where the windows of a pooling layer lie in its images."""

from __future__ import annotations

import math
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

    @property
    def is_whole(self) -> bool:
        """Whether there is one window, which is the whole image."""
        return self.pooled == (1, 1) and self.kernel == self.size and not any(self.pad)

    def areas(self) -> NDArray[np.float32]:
        """For each window its extent inside the padded image: what an average divides by.

        One that lies behind the image has none, so that its average is not a number, as in Caffe.
        """
        extents = []
        for axis in (0, 1):
            starts = self._starts(axis)
            extents.append(np.minimum(starts + self.kernel[axis], self.size[axis] + self.pad[axis]) - starts)
        return np.outer(*extents).astype(np.float32)

    def places(self, numbers: NDArray[np.integer]) -> NDArray[np.intp]:
        """Turns element numbers into places h * W + w of the image; 0, for no element, into -1.

        Args:
            numbers: shape (..., windows along height, windows along width).
        """
        first, offsets = self.flat_places()
        return np.where(numbers == 0, -1, first + offsets[numbers])

    def flat_places(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """What the place h * W + w of an element is the sum of.

        Returns:
            For each window the place of its first element, also where that is padding; and how much further each
            element is, by its number from 1 (that of number 0 is 0).
        """
        width = self.size[1]
        first = self._starts(0)[:, np.newaxis] * width + self._starts(1)
        rows, columns = (np.arange(side) for side in self.kernel)
        return first, np.concatenate([[0], (rows[:, np.newaxis] * width + columns).ravel()])

    def _starts(self, axis: int) -> NDArray[np.intp]:
        return np.arange(self._pooled(axis)) * self.stride[axis] - self.pad[axis]
