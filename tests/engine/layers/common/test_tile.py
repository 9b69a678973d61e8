import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos.errors import NetError
from tests.engine.support import assert_nothing_is_allocated, assert_untouched, layer_of, random_blob, run, untouched


def text(options: str) -> str:
    return f'type: "Tile" tile_param {{ {options} }}'


@given(hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=3), st.integers(0, 3), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_the_axis_is_repeated_and_the_gradients_are_summed(shape: tuple[int, ...], axis: int, tiles: int) -> None:
    axis = axis % len(shape) - len(shape)
    bottom = random_blob(*shape)
    layer = layer_of(text(f"axis: {axis} tiles: {tiles}"))
    (top,) = run(layer, [bottom])
    np.testing.assert_array_equal(top.data, np.concatenate([bottom.data] * tiles, axis=axis))
    top.diff[...] = random_blob(*top.shape, seed=3).data
    layer.run_backward([top], [True], [bottom])
    expected = sum(np.split(top.diff, tiles, axis=axis))
    np.testing.assert_allclose(bottom.diff, expected, rtol=1e-5, atol=1e-6)


def test_the_axis_is_that_of_the_channels_by_default() -> None:
    (top,) = run(layer_of(text("tiles: 2")), [random_blob(2, 3, 4)])
    assert top.shape == (2, 6, 4)


@pytest.mark.parametrize("options", ["tiles: 1", "tiles: 3", "tiles: 2 axis: 0", "tiles: 2 axis: -1"])
def test_the_gradient_is_right(options: str) -> None:
    assert GradientChecker().check(layer_of(text(options)), [random_blob(2, 2, 2)], [Blob()])


def test_without_propagate_down_the_diff_stays() -> None:
    bottom = random_blob(2, 3)
    layer = layer_of(text("tiles: 2"))
    top = run(layer, [bottom])
    untouched(bottom)
    layer.run_backward(top, [False], [bottom])
    assert_untouched(bottom)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_steady_state_allocates_nothing(axis: int) -> None:
    assert_nothing_is_allocated(layer_of(text(f"tiles: 3 axis: {axis}")), [random_blob(32, 50, 50)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "tiles is not given"),
        ("tiles: 0", "tiles is 0"),
        ("tiles: -1", "tiles is -1"),
        ("tiles: 2 axis: 2", r"tile_param.axis is 2.*\(2, 3\)"),
    ],
)
def test_what_cannot_be_is_refused(options: str, message: str) -> None:
    with pytest.raises(NetError, match=message):
        run(layer_of(text(options)), [random_blob(2, 3)])
