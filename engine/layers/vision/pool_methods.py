"""The methods of pooling, forward and backward, over planes of one size."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layers.vision.pool_phases import PoolPhases
from farlayer.engine.layers.vision.pool_windows import PoolWindows
from farlayer.engine.scratch import Scratch

Array: TypeAlias = NDArray[np.float32]
Numbers: TypeAlias = NDArray[np.unsignedinteger[Any]]

_LOWEST = float(np.finfo(np.float32).min)
"""What Caffe's maxima start from: the maximum of a window without a larger value, which has no chosen element."""


class PoolMethods:
    """Pools planes x, shape (m, H, W), to y, shape (m, pooled H, pooled W); dx and dy are their gradients.

    `chosen`, of the shape of y, has for each window the number of the kernel's element that its value came from: 1 for
    the first, counted row by row; 0 for none. "Cells" are those of PoolPhases.
    """

    def __init__(self, windows: PoolWindows, workspace: Scratch) -> None:
        self._windows = windows
        self._workspace = workspace
        self._phases = PoolPhases(windows, workspace)
        self._areas = windows.areas()
        self._first, self._offsets = windows.flat_places()

    @property
    def values_a_plane(self) -> int:
        """How many values a plane takes when it is taken apart."""
        return self._phases.values_a_plane

    # Maximum

    def maximum(self, x: Array, y: Array, chosen: Numbers) -> None:
        """Takes the largest value of each window; of equal ones the first is chosen."""
        if self._windows.is_whole and self._maximum_of_all(x, y, chosen):
            return
        height, width = self._windows.kernel
        phases = self._phases.gather(x, _LOWEST)
        best, numbers = self._like("row results", phases[:, 0]), self._numbers_like("row numbers", phases[:, 0], chosen)
        np.fmax(phases[:, 0], _LOWEST, out=best)
        np.greater(phases[:, 0], _LOWEST, out=numbers, casting="unsafe")
        for column in range(1, width):
            phase, shift = self._phases.along_width(column)
            source = phases[:, phase, shift:]
            reached = np.s_[:, : source.shape[1]]
            self._keep_larger(source, chosen.dtype.type(column + 1), best[reached], numbers[reached])
        value, picked = self._like("results", best[0]), self._numbers_like("chosen", best[0], chosen)
        np.copyto(value, best[0])
        np.copyto(picked, numbers[0])
        for row in range(1, height):
            phase, shift = self._phases.along_height(row)
            source = best[phase, shift:]
            number = self._numbers_like("further", source, chosen)
            np.add(numbers[phase, shift:], chosen.dtype.type(row * width), out=number)
            self._keep_larger(source, number, value[: len(source)], picked[: len(source)])
        np.copyto(y, self._phases.per_window(value))
        np.copyto(chosen, self._phases.per_window(picked))

    def _keep_larger(self, source: Array, number: Numbers | np.generic, best: Array, picked: Numbers) -> None:
        """Takes over what is larger than the best so far, with its number, which is larger than all before it."""
        better = self._workspace.array_of("better", source.shape, np.bool_)
        np.greater(source, best, out=better)
        np.fmax(best, source, out=best)
        # A product and a maximum over single bytes: a masked copy would take several times as long.
        numbers = self._numbers_like("numbers", source, picked)
        np.multiply(better.view(np.uint8), number, out=numbers)
        np.maximum(picked, numbers, out=picked)

    def _maximum_of_all(self, x: Array, y: Array, chosen: Numbers) -> bool:
        """The maximum where the window is the whole plane. False for values at which NumPy's would not be Caffe's."""
        values = x.reshape(len(x), math.prod(self._windows.size))
        places = self._workspace.array_of("places", (len(x),), np.intp)
        np.argmax(values, axis=1, out=places)
        largest = np.take_along_axis(values, places[:, np.newaxis], axis=1)
        if not np.all(largest > _LOWEST):  # also where it is NaN
            return False
        np.copyto(y, largest[:, np.newaxis])
        np.copyto(chosen, (places + 1)[:, np.newaxis, np.newaxis], casting="unsafe")
        return True

    def route(self, dy: Array, chosen: Numbers, dx: Array) -> None:
        """Gives the gradient of each window to the element that was chosen."""
        dx.fill(0)
        if not chosen.size:
            return
        numbers = self._workspace.array_of("element numbers", chosen.shape, np.intp)
        np.copyto(numbers, chosen)
        places = self._workspace.array_of("places", chosen.shape, np.intp)
        np.take(self._offsets, numbers, out=places, mode="clip")
        np.add(places, self._first, out=places)
        np.add(places, np.arange(0, dx.size, dx[0].size)[:, np.newaxis, np.newaxis], out=places)
        if chosen.min():
            np.add.at(dx.reshape(-1), places.reshape(-1), dy.reshape(-1))
        else:
            np.add.at(dx.reshape(-1), places[chosen > 0], dy[chosen > 0])

    # Average

    def average(self, x: Array, y: Array) -> None:
        """Divides the sum of each window by its size."""
        if self._windows.is_whole:
            np.einsum("mp->m", x.reshape(len(x), math.prod(self._windows.size)), out=y.reshape(len(x)))
        else:
            np.copyto(y, self._phases.per_window(self._sum(self._phases.gather(x, 0))))
        np.divide(y, self._areas, out=y)

    def _sum(self, phases: Array) -> Array:
        """The sum of each window, by cell: along the rows, then of those sums down the columns."""
        rows = self._like("row results", phases[:, 0])
        np.copyto(rows, phases[:, 0])
        for column in range(1, self._windows.kernel[1]):
            phase, shift = self._phases.along_width(column)
            source = phases[:, phase, shift:]
            target = rows[:, : source.shape[1]]
            np.add(target, source, out=target)
        total = self._like("results", rows[0])
        np.copyto(total, rows[0])
        for row in range(1, self._windows.kernel[0]):
            phase, shift = self._phases.along_height(row)
            source = rows[phase, shift:]
            target = total[: len(source)]
            np.add(target, source, out=target)
        return total

    def spread(self, dy: Array, dx: Array) -> None:
        """Gives every element of a window its share of the gradient: `average` backwards, step by step."""
        share = self._workspace.array("shares", dy.shape)
        np.divide(dy, self._areas, out=share)
        if self._windows.is_whole:
            np.copyto(dx, share)
            return
        phases = self._phases.blank(len(dx))
        total = self._like("results", phases[0, 0])
        total.fill(0)
        np.copyto(self._phases.per_window(total), share)
        rows = self._like("row results", phases[:, 0])
        rows.fill(0)
        for row in range(self._windows.kernel[0]):
            phase, shift = self._phases.along_height(row)
            target = rows[phase, shift:]
            np.add(target, total[: len(target)], out=target)
        phases.fill(0)
        for column in range(self._windows.kernel[1]):
            phase, shift = self._phases.along_width(column)
            target = phases[:, phase, shift:]
            np.add(target, rows[:, : target.shape[1]], out=target)
        self._phases.scatter(phases, dx)

    # Stochastic

    def draw(self, x: Array, y: Array, chosen: Numbers, rng: np.random.Generator) -> None:
        """Takes in each window the first value at which the running sum reaches a random share of the whole sum."""
        phases = self._phases.gather(x, 0)
        running = self._like("row results", phases[0, 0])
        running.fill(0)
        for _, source in self._elements(phases):
            np.add(running[: len(source)], source, out=running[: len(source)])
        share = self._workspace.array("shares", y.shape)
        rng.random(dtype=np.float32, out=share)
        threshold = self._like("results", running)
        threshold.fill(0)
        np.multiply(self._phases.per_window(running), share, out=self._phases.per_window(threshold))
        value, picked = self._like("values", running), self._numbers_like("chosen", running, chosen)
        for blank in (running, value, picked):
            blank.fill(0)
        for number, source in self._elements(phases):
            end = len(source)
            np.add(running[:end], source, out=running[:end])
            now = self._workspace.array_of("better", (end,), np.bool_)
            np.greater_equal(running[:end], threshold[:end], out=now)
            np.logical_and(now, picked[:end] == 0, out=now)
            np.copyto(value[:end], source, where=now)
            np.copyto(picked[:end], chosen.dtype.type(number), where=now)
        np.copyto(y, self._phases.per_window(value))
        np.copyto(chosen, self._phases.per_window(picked))

    def weighted_mean(self, x: Array, y: Array) -> None:
        """The mean of each window, its values weighted with themselves."""
        phases = self._phases.gather(x, 0)
        total = self._like("values", phases[0, 0])
        np.copyto(total, self._sum(phases))
        np.multiply(phases, phases, out=phases)
        np.copyto(y, self._phases.per_window(self._sum(phases)))
        np.maximum(total, np.finfo(np.float32).tiny, out=total)
        np.divide(y, self._phases.per_window(total), out=y)

    # Working memory

    def _elements(self, phases: Array) -> Iterator[tuple[int, Array]]:
        """For each element of the kernel its number, and what it sees, by cell."""
        elements = itertools.product(*map(range, self._windows.kernel))
        for number, (row, column) in enumerate(elements, start=1):
            down, shift_down = self._phases.along_height(row)
            right, shift_right = self._phases.along_width(column)
            yield number, phases[down, right, shift_down + shift_right :]

    def _like(self, name: str, array: Array) -> Array:
        return self._workspace.array(name, array.shape)

    def _numbers_like(self, name: str, array: NDArray[Any], chosen: Numbers) -> Numbers:
        return self._workspace.array_of(name, array.shape, chosen.dtype.type)
