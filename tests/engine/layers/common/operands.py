"""What the tests of Bias and Scale share: operands of every kind, and their broadcast in plain NumPy."""

import numpy as np

#: Name: shape of x, axis, num_axes, shape of the operand.
CASES: dict[str, tuple[tuple[int, ...], int, int, tuple[int, ...]]] = {
    "channels": ((2, 3, 4, 2), 1, 1, (3,)),
    "channels without pixels": ((5, 3), 1, 1, (3,)),
    "the last axis": ((2, 3, 4), -1, 1, (4,)),
    "two axes": ((2, 3, 4, 2), 1, 2, (3, 4)),
    "from the first on": ((2, 3, 4), 0, 2, (2, 3)),
    "all axes": ((2, 3), 0, -1, (2, 3)),
    "all from an axis on": ((2, 3, 4), 1, -1, (3, 4)),
    "a scalar": ((2, 3, 4), 1, 0, ()),
    "a scalar for one axis": ((4,), 0, 0, ()),
}


def broadcast(operand: np.ndarray, shape: tuple[int, ...], axis: int) -> np.ndarray:
    """The operand with axes of size 1, so that NumPy broadcasts it against x."""
    start = axis % len(shape) if operand.ndim else 0
    return operand.reshape((1,) * start + operand.shape + (1,) * (len(shape) - start - operand.ndim))


def sum_like(values: np.ndarray, operand: np.ndarray, axis: int) -> np.ndarray:
    """Sums over the axes that the operand does not have."""
    start = axis % values.ndim if operand.ndim else 0
    others = tuple(index for index in range(values.ndim) if not start <= index < start + operand.ndim)
    return values.astype(np.float64).sum(axis=others)
