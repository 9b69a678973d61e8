"""Products of matrices that are added to what is there: the gradients of weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layers.parts import slices
from farlayer.engine.scratch import Scratch

Array = NDArray[np.float32]

_PRODUCT_VALUES = 1 << 20
"""So many values (4 MiB) are computed at a time: they are added while they are in the cache, and no layer needs memory
for a second gradient."""


def add_product(left: Array, right: Array, total: Array, workspace: Scratch) -> None:
    """Adds left^T right to `total`, some rows at a time.

    Args:
        left: shape (N, rows of total).
        right: shape (N, columns of total).
        total: is added to.
        workspace: where products are computed.
    """
    for rows in slices(len(total), total.shape[1], _PRODUCT_VALUES):
        part = workspace.array("product", total[rows].shape)
        np.matmul(left[:, rows].T, right, out=part)
        np.add(total[rows], part, out=total[rows])
