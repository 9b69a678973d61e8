import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlayer.engine.layers.vision.resampling import Resampling, bilinear
from farlayer.engine.scratch import Scratch

SIZES = st.integers(1, 9)


def matrix(resampling: Resampling) -> np.ndarray:
    """The sums as a matrix: outputs x inputs."""
    dense = np.zeros((resampling.places.shape[1], resampling.size_in))
    for places, weights in zip(resampling.places, resampling.weights, strict=True):
        for output, (place, weight) in enumerate(zip(places, weights, strict=True)):
            dense[output, place] += weight
    return dense


@settings(max_examples=25, deadline=None)
@given(SIZES, SIZES, st.integers(0, 2), st.integers(0, 2))
def test_bilinear_is_linear_interpolation_between_the_first_and_the_last_place(
    size: int, size_out: int, begin: int, end: int
) -> None:
    size_in = size + begin + end
    values = np.random.default_rng(size).standard_normal(size_in)
    at = np.linspace(0, size - 1, size_out) if size_out > 1 else [0]
    expected = np.interp(at, np.arange(size), values[begin : begin + size])
    actual = matrix(bilinear(size_in, size_out, begin=begin, end=end)) @ values
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(SIZES, SIZES, st.integers(0, 2))
def test_transposed_is_the_transpose(size: int, size_out: int, begin: int) -> None:
    there = bilinear(size + begin, size_out, begin=begin)
    np.testing.assert_allclose(matrix(there.transposed), matrix(there).T, atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_apply_sums_along_one_axis(axis: int) -> None:
    resampling = bilinear(5, 8)
    x = np.random.default_rng(1).standard_normal((5, 5, 5), dtype=np.float32)
    shape = tuple(8 if at == axis else 5 for at in range(3))
    out = np.empty(shape, np.float32)
    resampling.apply(x, out, axis, Scratch())
    expected = np.moveaxis(np.tensordot(matrix(resampling), x, (1, axis)), 0, axis)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)


def test_a_nan_reaches_only_its_neighbours_there_and_back() -> None:
    x, dy = np.ones((1, 5), np.float32), np.ones((1, 9), np.float32)
    x[0, 1] = dy[0, 3] = np.nan
    y, dx = np.empty_like(dy), np.empty_like(x)
    bilinear(5, 9).apply(x, y, 1, Scratch())
    bilinear(5, 9).transposed.apply(dy, dx, 1, Scratch())
    np.testing.assert_array_equal(
        np.flatnonzero(np.isnan(y)), [0, 1, 2, 3]
    )  # 0: the neighbour has weight 0, as in Caffe
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(dx)), [1, 2])
