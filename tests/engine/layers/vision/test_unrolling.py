import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from farlayer.engine.layers.vision.spatial import Window
from farlayer.engine.layers.vision.unrolling import col2im, im2col, interior


@st.composite
def problems(draw: st.DrawFn) -> tuple[Window, tuple[int, ...], int, int]:
    """A window, a spatial shape that it fits into, channels and samples."""
    axes = draw(st.integers(1, 3))
    values = lambda low, high: tuple(draw(st.lists(st.integers(low, high), min_size=axes, max_size=axes)))  # noqa: E731
    window = Window(kernel=values(1, 3), stride=values(1, 3), pad=values(0, 2), dilation=values(1, 2))
    spatial = tuple(
        dilation * (kernel - 1) + 1 + more
        for kernel, dilation, more in zip(window.kernel, window.dilation, values(0, 3), strict=True)
    )
    return window, spatial, draw(st.integers(1, 2)), draw(st.integers(1, 3))


@given(problems())
def test_col2im_is_the_transpose_of_im2col(problem: tuple[Window, tuple[int, ...], int, int]) -> None:
    window, spatial, channels, num = problem
    rng = np.random.default_rng(3)
    x = rng.integers(-4, 5, (num, channels, *window.padded_shape(spatial))).astype(np.float32)
    shape = (num, channels, *window.kernel, *window.output_shape(spatial))
    c = rng.integers(-4, 5, shape).astype(np.float32)
    columns, folded = np.empty(shape, np.float32), np.zeros_like(x)
    im2col(x, window, columns)
    col2im(c, window, folded)
    assert np.vdot(columns, c) == np.vdot(x, folded)


def test_the_interior_is_what_the_padding_surrounds() -> None:
    window = Window(kernel=(1, 1), stride=(1, 1), pad=(1, 2), dilation=(1, 1))
    padded = np.zeros((1, 1, *window.padded_shape((2, 3))), np.float32)
    assert padded.shape == (1, 1, 4, 7)
    interior(padded, window, (2, 3)).fill(1)
    assert padded.sum() == 6
    assert padded[0, 0, 1:3, 2:5].all()


def test_the_columns_are_the_windows() -> None:
    window = Window(kernel=(2,), stride=(2,), pad=(0,), dilation=(1,))
    columns = np.empty((1, 1, 2, 2), np.float32)
    im2col(np.arange(5, dtype=np.float32).reshape(1, 1, 5), window, columns)
    np.testing.assert_array_equal(columns[0, 0], [[0, 2], [1, 3]])
