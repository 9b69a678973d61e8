"""Arrays that outlive a call, so that a steady state allocates nothing."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)


class Scratch:
    """Working memory by name. Contents are whatever the last user of the name left there.

    A layer has two of them: `layer.scratch` is its own, and keeps what forward leaves for backward (masks, indices);
    `layer.workspace` is shared by all layers of a net, and good within one call alone (columns, intermediate sums).
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
            buffer = self._buffers[name] = np.empty(size_bytes, np.uint8)
        array: NDArray[Any] = buffer[:size_bytes].view(dtype)
        return array.reshape(shape)
