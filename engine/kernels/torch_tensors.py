"""Tensors over the memory of blobs."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float32]


def tensor(array: Array, *shape: int) -> torch.Tensor:
    """A tensor over the memory of an array, of another shape where one is given. Nothing is copied.

    It takes no part in autograd, nor does what is computed from it: backward is written in the layers.
    """
    return torch.from_numpy(array.reshape(shape) if shape else array)
