from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from farlayer.engine.layers.vision.pool_windows import PoolWindows

PAIRS = st.tuples(st.integers(1, 4), st.integers(1, 4))


@st.composite
def pool_windows(draw: st.DrawFn) -> PoolWindows:
    kernel = draw(PAIRS)
    pad = tuple(draw(st.integers(0, side - 1)) for side in kernel)
    size = tuple(side + draw(st.integers(0, 5)) for side in kernel)
    return PoolWindows(kernel, draw(PAIRS), pad, size, draw(st.booleans()))


@given(pool_windows())
def test_the_number_of_an_element_gives_its_place(windows: PoolWindows) -> None:
    for number in range(1, windows.kernel[0] * windows.kernel[1] + 1):
        places = windows.places(np.full(windows.pooled, number, np.uint8))
        down, right = divmod(number - 1, windows.kernel[1])
        for (row, column), place in np.ndenumerate(places):
            h = row * windows.stride[0] - windows.pad[0] + down
            w = column * windows.stride[1] - windows.pad[1] + right
            assert place == h * windows.size[1] + w


def test_no_element_is_no_place() -> None:
    windows = PoolWindows((2, 2), (2, 2), (0, 0), (4, 4))
    assert (windows.places(np.zeros((2, 2), np.uint8)) == -1).all()


def test_only_one_window_over_all_of_an_image_is_the_whole() -> None:
    whole = PoolWindows((3, 4), (1, 1), (0, 0), (3, 4))
    assert whole.is_whole
    for change in (dict(kernel=(3, 3)), dict(kernel=(5, 4), stride=(2, 1)), dict(pad=(1, 1)), dict(size=(4, 4))):
        assert not replace(whole, **change).is_whole
