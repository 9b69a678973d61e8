"""Arrays that a layer keeps between calls, so that a steady state allocates nothing."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)


class Scratch:
    """Working memory by name. Contents are whatever the last user of the name left there."""

    def __init__(self) -> None:
        self._buffers: dict[str, NDArray[Any]] = {}

    def array(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Gives a float32 array, as `array_of`."""
        return self.array_of(name, shape, np.float32)

    def array_of(self, name: str, shape: tuple[int, ...], dtype: type[Scalar]) -> NDArray[Scalar]:
        """Gives a C-contiguous array of a shape, not cleared, good until the name is asked for again."""
        count = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < count or buffer.dtype != dtype:
            buffer = np.empty(count, dtype)
            self._buffers[name] = buffer
        return buffer[:count].reshape(shape)
