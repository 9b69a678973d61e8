import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farlayer.engine.layers.vision import correlation
from farlayer.engine.layers.vision.correlation import (
    FlippingCorrelation,
    Geometry,
    TogetherCorrelation,
    UnrolledCorrelation,
    flipped_geometry,
    unrolled_correlation,
)
from farlayer.engine.layers.vision.spatial import Window
from farlayer.engine.scratch import Scratch


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    axes = draw(st.integers(1, 3))
    values = lambda low, high: tuple(draw(st.lists(st.integers(low, high), min_size=axes, max_size=axes)))  # noqa: E731
    window = Window(kernel=values(1, 3), stride=values(1, 3), pad=values(0, 2), dilation=values(1, 2))
    image = tuple(
        dilation * (kernel - 1) + 1 + more
        for kernel, dilation, more in zip(window.kernel, window.dilation, values(0, 3), strict=True)
    )
    group, num = draw(st.integers(1, 2)), draw(st.integers(1, 4))
    channels, num_maps = group * draw(st.integers(1, 3)), group * draw(st.integers(1, 3))
    return Geometry(num, channels, num_maps, group, image, window.output_shape(image), window)


def shapes_of(geometry: Geometry) -> tuple[tuple[int, ...], ...]:
    """Shapes of images, filters and maps."""
    return (
        (geometry.num, geometry.channels, *geometry.image),
        (geometry.num_maps, geometry.channels // geometry.group, *geometry.window.kernel),
        (geometry.num, geometry.num_maps, *geometry.places),
    )


def arrays_of(geometry: Geometry) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, filters and maps."""
    images, filters, maps = shapes_of(geometry)
    return whole_numbers(images, 1), whole_numbers(filters, 2), whole_numbers(maps, 3)


def whole_numbers(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Values whose sums and products float32 holds exactly."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


def direct(geometry: Geometry, images: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Every place of every map by its own sum."""
    window = geometry.window
    padded = np.pad(images, [(0, 0), (0, 0), *((pad, pad) for pad in window.pad)])
    maps = np.empty(shapes_of(geometry)[2], np.float32)
    a_group = geometry.channels // geometry.group
    for index, *place in itertools.product(range(geometry.num_maps), *map(range, geometry.places)):
        first = index // (geometry.num_maps // geometry.group) * a_group
        region = tuple(
            slice(at * stride, at * stride + dilation * (kernel - 1) + 1, dilation)
            for at, stride, kernel, dilation in zip(place, window.stride, window.kernel, window.dilation, strict=True)
        )
        seen = padded[(slice(None), slice(first, first + a_group), *region)]
        maps[(slice(None), index, *place)] = (seen * filters[index]).reshape(geometry.num, -1).sum(axis=1)
    return maps


@pytest.mark.parametrize("kind", [UnrolledCorrelation, TogetherCorrelation])
@pytest.mark.parametrize("bound", [1, 60, 1 << 18])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(geometry=geometries())
def test_maps_are_sums_over_windows_and_the_other_two_are_its_transposes(
    kind: type, bound: int, monkeypatch: pytest.MonkeyPatch, geometry: Geometry
) -> None:
    for name in ("_PART_VALUES", "_PART_PLACES", "_TOGETHER_VALUES", "_GRADIENT_VALUES"):
        monkeypatch.setattr(correlation, name, bound)
    image_shape, filter_shape, map_shape = shapes_of(geometry)
    images, filters, weights = (
        whole_numbers(image_shape, 1),
        whole_numbers(filter_shape, 2),
        whole_numbers(map_shape, 3),
    )
    biases = whole_numbers((geometry.num_maps,), 4)
    correlate = kind(geometry, Scratch())
    maps = np.full_like(weights, np.nan)
    correlate.to_maps(images, filters, None, maps)
    expected = direct(geometry, images, filters)
    np.testing.assert_array_equal(maps, expected)
    correlate.to_maps(images, filters, biases, maps)
    np.testing.assert_array_equal(maps, expected + biases.reshape(-1, *(1,) * len(geometry.places)))
    product = np.vdot(expected, weights)
    back = np.full_like(images, np.nan)
    correlate.to_images(weights, filters, back)
    assert np.vdot(images, back) == product
    before = whole_numbers(filters.shape, 5)
    gradient = before.copy()
    correlate.add_filter_gradient(images, weights, gradient)
    assert np.vdot(filters, gradient - before) == product


@settings(max_examples=50, deadline=None)
@given(geometries())
def test_flipped_filters_give_the_transpose(geometry: Geometry) -> None:
    flipped = flipped_geometry(geometry)
    if flipped is None:
        return
    assert flipped.window.output_shape(flipped.image) == flipped.places == geometry.image
    image_shape, filter_shape, map_shape = shapes_of(geometry)
    images, filters, weights = (
        whole_numbers(image_shape, 1),
        whole_numbers(filter_shape, 2),
        whole_numbers(map_shape, 3),
    )
    back = np.empty_like(images)
    correlate = unrolled_correlation(geometry, Scratch())
    assert isinstance(correlate, FlippingCorrelation)
    correlate.to_images(weights, filters, back)
    assert np.vdot(images, back) == np.vdot(direct(geometry, images, filters), weights)


def test_small_maps_are_computed_together_and_large_ones_alone() -> None:
    window = Window((3, 3), (1, 1), (1, 1), (1, 1))
    small = Geometry(8, 4, 8, 1, (8, 8), (8, 8), window)  # twice as many maps as channels: filters are not flipped
    assert isinstance(unrolled_correlation(small, Scratch()), TogetherCorrelation)
    assert isinstance(unrolled_correlation(replace(small, num=1), Scratch()), UnrolledCorrelation)
    large = replace(small, image=(32, 32), places=(32, 32))
    assert isinstance(unrolled_correlation(large, Scratch()), UnrolledCorrelation)


def test_columns_do_not_grow_with_image_and_batch() -> None:
    window = Window((3, 3), (1, 1), (1, 1), (1, 1))
    for size, num in ((100, 2), (200, 16)):
        geometry = Geometry(num, 16, 16, 1, (size, size), (size, size), window)
        image_shape, filter_shape, map_shape = shapes_of(geometry)
        workspace = Scratch()
        correlate = unrolled_correlation(geometry, workspace)
        correlate.to_maps(
            *(np.zeros(shape, np.float32) for shape in (image_shape, filter_shape)),
            None,
            np.zeros(map_shape, np.float32),
        )
        padded_bytes = 4 * 16 * (size + 2) ** 2
        assert workspace.size_bytes <= padded_bytes + 4 * correlation._PART_VALUES + 4 * math.prod((16, 9, size))
