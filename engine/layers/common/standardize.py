"""Mean 0 and deviation 1 for each place of a blob's middle axes: what BatchNorm and MVN share."""

from __future__ import annotations

import numpy as np

from farlayer.engine.layers.common.bands import Array, Band


def center(band: Band, x: Array, out: Array) -> Array:
    """Subtracts the mean of each place.

    Args:
        band: whose values these are.
        x: shape (outer, places * inner), as `band.of` gives it.
        out: where the result goes; may be `x`.

    Returns:
        The means, shape (places,).
    """
    mean = _mean(band, band.sums(x))
    np.subtract(x, band.spread(mean), out=out)
    return mean


def variance(band: Band, centered: Array) -> Array:
    """The variance of each place, shape (places,), of values whose mean is 0."""
    return _mean(band, band.dots(centered, centered))


def gradient(band: Band, y: Array, dy: Array, inverse: Array, out: Array) -> None:
    """Computes dx = (dy - mean(dy) - y * mean(dy * y)) / deviation, with the means over each place.

    Args:
        band: whose values these are.
        y: x with mean 0 and deviation 1.
        dy: its gradient.
        inverse: 1 / deviation, shape (places,).
        out: where dx goes; may be `dy`.
    """
    mean, mean_product = _mean(band, band.sums(dy)), _mean(band, band.dots(dy, y))
    term = band.workspace.array("gradient term", y.shape)
    np.multiply(y, band.spread(mean_product), out=term)
    np.add(term, band.spread(mean), out=term)
    np.subtract(dy, term, out=out)
    np.multiply(out, band.spread(inverse), out=out)


def _mean(band: Band, total: Array) -> Array:
    mean: Array = np.divide(total, max(band.middle.count, 1), out=total)
    return mean
