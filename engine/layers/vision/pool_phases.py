"""Images laid out so that pooling runs over long stretches of memory, whatever kernel and stride."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layers.vision.pool_windows import PoolWindows
from farlayer.engine.scratch import Scratch

Array = NDArray[np.float32]
Scalar = TypeVar("Scalar", bound=np.generic)
_Place = tuple[slice, slice, slice]


class PoolPhases:
    """Planes with their padding, taken apart by row and column modulo the stride.

    A phase has a cell for each window (and a rest at its end of rows and columns). With the phases flat, what element
    (i, j) of the kernel sees in all windows is one stretch: phase (i % stride, j % stride), shifted by whole rows for
    i // stride and by j // stride. Strides, edges and short rows are met once, when images are gathered.

    Attributes:
        count: how many phases there are along the two axes.
        shape: rows and columns of a phase of one plane.
    """

    def __init__(self, windows: PoolWindows, workspace: Scratch) -> None:
        self._windows = windows
        self._workspace = workspace
        sides = zip(windows.pooled, windows.kernel, windows.stride, strict=True)
        self.shape = tuple(pooled + (kernel - 1) // stride for pooled, kernel, stride in sides)
        self.count = tuple(min(sides) for sides in zip(windows.kernel, windows.stride, strict=True))

    @property
    def values_a_plane(self) -> int:
        """Values of all phases of one plane."""
        return self.count[0] * self.count[1] * self.shape[0] * self.shape[1]

    def gather(self, images: Array, fill: float) -> Array:
        """Lays planes out: (phases along height, along width, planes * rows * columns), good until the next call."""
        phases = self.blank(len(images))
        for phase, cells, places in self._cells(len(images), phases):
            if phase[cells].size < phase.size:
                phase.fill(fill)
            np.copyto(phase[cells], images[places])
        return phases

    def scatter(self, phases: Array, images: Array) -> None:
        """Sets planes to the phases, the inverse of `gather`; what no window sees becomes 0."""
        images.fill(0)
        for phase, cells, places in self._cells(len(images), phases):
            np.copyto(images[places], phase[cells])

    def blank(self, planes: int) -> Array:
        """Memory for what `gather` returns; the same at every call."""
        return self._workspace.array("columns", (*self.count, planes * self.shape[0] * self.shape[1]))

    def per_window(self, cells: NDArray[Scalar]) -> NDArray[Scalar]:
        """Of flat values, one a cell of a phase, those of windows: (planes, windows along height, along width)."""
        rows, columns = self._windows.pooled
        return cells.reshape(-1, *self.shape)[:, :rows, :columns]

    def along_width(self, element: int) -> tuple[int, int]:
        """The phase along the width, and the shift in it, of the kernel's column `element`."""
        return element % self._windows.stride[1], element // self._windows.stride[1]

    def along_height(self, element: int) -> tuple[int, int]:
        """As `along_width`, for the kernel's row `element`."""
        return element % self._windows.stride[0], element // self._windows.stride[0] * self.shape[1]

    def _cells(self, planes: int, phases: Array) -> Iterator[tuple[Array, _Place, _Place]]:
        """For each phase: its values as (planes, rows, columns), the cells that are no padding, their places."""
        for row in range(self.count[0]):
            for column in range(self.count[1]):
                (top, rows), (left, columns) = self._span(0, row), self._span(1, column)
                everything = slice(None)
                phase = phases[row, column].reshape(planes, *self.shape)
                yield phase, (everything, top, left), (everything, rows, columns)

    def _span(self, axis: int, phase: int) -> tuple[slice, slice]:
        """Along one axis, the cells of a phase that lie in the image, and their places in it."""
        stride, size = self._windows.stride[axis], self._windows.size[axis]
        shift = phase - self._windows.pad[axis]
        first = max(0, -(shift // stride))
        end = max(first, min(self.shape[axis], (size - 1 - shift) // stride + 1))
        start = first * stride + shift
        return slice(first, end), slice(start, start + (end - first) * stride, stride)
