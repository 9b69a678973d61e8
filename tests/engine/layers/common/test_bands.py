import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlayer.engine.layers import parts
from farlayer.engine.layers.common import bands
from farlayer.engine.layers.common.bands import Middle
from farlayer.engine.scratch import Scratch

SHAPES = [(4, 6, 5), (1, 6, 5), (4, 6, 1), (3, 1, 7), (1, 1, 1), (2, 3, 300), (5, 2, 0), (0, 2, 3), (3, 0, 2)]


def values(*shape: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def test_the_axes_before_and_behind_the_middle_are_counted_as_one_each() -> None:
    assert Middle.of((2, 3, 4, 5, 6), 1, 3) == Middle(2, 12, 30)
    assert Middle.of((2, 3), 0, 2) == Middle(1, 6, 1)
    assert Middle.of((), 0, 0) == Middle(1, 1, 1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bound", [1, 40, 1 << 18])
def test_bands_cover_every_value_once(shape: tuple[int, int, int], bound: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_VALUES", bound)
    seen = np.zeros(shape, np.float32)
    sizes = []
    for band in Middle(*shape).bands(Scratch()):
        part = band.of(seen)
        part += 1
        sizes.append(part.size)
        assert band.num_places == part.shape[1] / max(shape[2], 1) or not shape[2]
    assert (seen == 1).all()
    assert all(size <= max(bound, shape[0] * shape[2]) for size in sizes)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bound", [1, 40, 1 << 18])
@pytest.mark.parametrize("long_row", [1, 256])
def test_sums_products_and_broadcasts_are_those_of_numpy(
    shape: tuple[int, int, int], bound: int, long_row: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_VALUES", bound)
    monkeypatch.setattr(bands, "_LONG_ROW", long_row)
    x, y, factor = values(*shape), values(*shape, seed=4), values(shape[1], seed=5)
    sums, dots, scaled = np.empty_like(factor), np.empty_like(factor), np.empty_like(x)
    for band in Middle(*shape).bands(Scratch()):
        sums[band.places] = band.sums(band.of(x))
        dots[band.places] = band.dots(band.of(x), band.of(y))
        np.multiply(band.of(x), band.spread(factor[band.places]), out=band.of(scaled))
    np.testing.assert_allclose(sums, x.astype(float).sum(axis=(0, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(dots, (x.astype(float) * y).sum(axis=(0, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(scaled, x * factor[:, np.newaxis])


@given(outer=st.integers(0, 4), dim=st.integers(1, 5), inner=st.integers(0, 6), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_any_shape_sums_up(outer: int, dim: int, inner: int, seed: int) -> None:
    x = values(outer, dim, inner, seed=seed)
    (band,) = Middle(*x.shape).bands(Scratch())
    np.testing.assert_allclose(band.sums(band.of(x)), x.sum(axis=(0, 2)), rtol=1e-4, atol=1e-5)


def test_sums_stay_when_the_next_band_is_summed() -> None:
    x = values(2, 3, 4)
    (band,) = Middle(*x.shape).bands(Scratch())
    first = band.sums(band.of(x))
    before = first.copy()
    band.sums(band.of(2 * x))
    band.spread(first * 2)
    np.testing.assert_array_equal(first, before)


def test_sums_of_many_values_keep_their_digits() -> None:
    x = np.full((3, 1, 1 << 20), 0.1, np.float32)
    (band,) = Middle(*x.shape).bands(Scratch())
    assert band.sums(band.of(x)).item() == pytest.approx(3 * (1 << 20) * float(np.float32(0.1)), rel=1e-5)


def test_one_value_for_a_whole_blob_needs_no_memory() -> None:
    workspace = Scratch()
    (band,) = Middle(1, 1, 50_000).bands(workspace)
    assert band.spread(values(1)).shape == (1,)
    assert workspace.size_bytes == 0
