"""Arrays that outlive a call, so that a steady state allocates nothing."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)


_ALIGNMENT = 64
"""Bytes: arrays begin at cache lines."""


class Scratch:
    """Working memory by name. Contents are whatever the last user of the name left there.

    A layer has two of them: `layer.scratch` is its own, and keeps what forward leaves for backward (masks, indices);
    `layer.workspace` is a Workspace, shared by all layers of a net (columns, intermediate sums).
    """

    def __init__(self) -> None:
        self._buffers: dict[str, NDArray[np.uint8]] = {}

    @property
    def size_bytes(self) -> int:
        """How much memory is held."""
        return sum(buffer.nbytes for buffer in self._buffers.values())

    def array(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Gives a float32 array, as `array_of`."""
        return self.array_of(name, shape, np.float32)

    def array_of(self, name: str, shape: tuple[int, ...], dtype: type[Scalar]) -> NDArray[Scalar]:
        """Gives a C-contiguous array of a shape, not cleared, good until the name is asked for again."""
        size_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        buffer = self._buffers.get(name)
        if buffer is None or buffer.nbytes < size_bytes:
            self._buffers.pop(name, None)  # freed before the larger one is taken
            buffer = self._buffers[name] = self._take(size_bytes)
        array: NDArray[Any] = buffer[:size_bytes].view(dtype)
        return array.reshape(shape)

    def _take(self, size_bytes: int) -> NDArray[np.uint8]:
        return np.empty(size_bytes, np.uint8)


class Workspace(Scratch):
    """Working memory of all layers of a net: names and contents are good within one call of one layer.

    All names of a call lie in one block, and the next call begins again at its start, so that what is held is the
    largest need of any call. A call that needs more than all before gets it on the side; then the block grows.
    """

    def __init__(self) -> None:
        super().__init__()
        self._block = np.empty(0, np.uint8)
        self._used_bytes = 0

    @property
    def size_bytes(self) -> int:
        """How much memory is held between calls."""
        return self._block.nbytes

    def begin(self) -> None:
        """Begins a call: whatever was handed out before may be handed out again."""
        self._buffers.clear()
        if self._used_bytes > self._block.nbytes:
            used_bytes = self._used_bytes
            del self._block  # freed before the larger one is taken
            self._block = np.empty(used_bytes, np.uint8)
        self._used_bytes = 0

    def _take(self, size_bytes: int) -> NDArray[np.uint8]:
        start = self._used_bytes
        self._used_bytes += -(-size_bytes // _ALIGNMENT) * _ALIGNMENT
        if start + size_bytes <= self._block.nbytes:
            return self._block[start : start + size_bytes]
        return np.empty(size_bytes, np.uint8)
