"""Weighted sums of the places along one axis: bilinear interpolation and its transpose."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.scratch import Scratch

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Resampling:
    """Makes each place along an axis a weighted sum of some places along the axis of another array.

    Attributes:
        places: shape (terms, outputs): the places that are summed.
        weights: shape (terms, outputs): what they are multiplied with; 0 where a sum has fewer terms.
        size_in: how many places there are to sum.
    """

    places: NDArray[np.intp]
    weights: Array
    size_in: int

    @cached_property
    def transposed(self) -> Resampling:
        """The sums that take gradients back: to each place of the input from all outputs that it is a term of."""
        num_outputs = self.places.shape[1]
        order = np.argsort(self.places, axis=None, kind="stable")
        place = self.places.reshape(-1)[order]
        counts = np.bincount(place, minlength=self.size_in)
        starts = np.cumsum(counts) - counts
        output = order % num_outputs
        # Sums with fewer terms are filled up with a place that they have already: no foreign NaN gets in.
        places = np.tile(output[np.minimum(starts, len(output) - 1)], (int(counts.max()), 1))
        weights = np.zeros(places.shape, np.float32)
        term = np.arange(len(place)) - starts[place]
        places[term, place] = output
        weights[term, place] = self.weights.reshape(-1)[order]
        return Resampling(places, weights, num_outputs)

    def apply(self, x: Array, out: Array, axis: int, workspace: Scratch) -> None:
        """Sets `out` to the sums along an axis of `x`, a C-contiguous array; their other axes are the same."""
        weights = self.weights.reshape(len(self.weights), *(-1 if at == axis else 1 for at in range(out.ndim)))
        _take(x, self.places[0], axis, out)
        np.multiply(out, weights[0], out=out)
        for places, weight in zip(self.places[1:], weights[1:], strict=True):
            term = workspace.array("term", out.shape)
            _take(x, places, axis, term)
            np.multiply(term, weight, out=term)
            np.add(out, term, out=out)


@lru_cache(maxsize=128)  # layers ask before every forward
def bilinear(size_in: int, size_out: int, *, begin: int = 0, end: int = 0) -> Resampling:
    """Spreads `size_out` places evenly over an input, the first on its first place and the last on its last.

    Each becomes the mean of the two places around it, weighted with how near they are.

    Args:
        size_in: how many places the input has.
        size_out: how many the output has.
        begin: how many places of the input are left out at its beginning.
        end: how many at its end.

    Source: DeepLab's fork of Caffe, src/caffe/util/interp.cpp.
    """
    size = size_in - begin - end
    below = np.arange(size_out)
    if size == size_out:
        return Resampling(begin + below[None], np.ones((1, size_out), np.float32), size_in)
    # In single precision as there, so that what lies on the border between two cells falls to the same side.
    ratio = np.float32(size - 1) / np.float32(size_out - 1) if size_out > 1 else np.float32(0)
    exact = ratio * below.astype(np.float32)
    below = exact.astype(np.intp)
    above = np.minimum(below + 1, size - 1)
    share = exact - below.astype(np.float32)
    return Resampling(begin + np.stack([below, above]), np.stack([1 - share, share]), size_in)


def _take(x: Array, places: NDArray[np.intp], axis: int, out: Array) -> None:
    # With its checks on, numpy.take would fill a buffer first. The places are right by construction.
    np.take(x, places, axis=axis, out=out, mode="clip")
