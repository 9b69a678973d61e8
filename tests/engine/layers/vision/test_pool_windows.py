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
def test_elements_name_every_place_of_every_window_once(windows: PoolWindows) -> None:
    image = np.arange(windows.size[0] * windows.size[1]).reshape(windows.size)
    found: dict[tuple[int, int], list[int]] = {}
    for _, inside, at in windows.elements():
        rows, columns = (range(*span.indices(count)) for span, count in zip(at, windows.pooled, strict=True))
        places = image[inside]
        assert places.shape == (len(rows), len(columns))
        for row, line in zip(rows, places, strict=True):
            for column, place in zip(columns, line, strict=True):
                found.setdefault((row, column), []).append(int(place))
    for row in range(windows.pooled[0]):
        for column in range(windows.pooled[1]):
            spans = []
            for axis, number in ((0, row), (1, column)):
                start = number * windows.stride[axis] - windows.pad[axis]
                spans.append(slice(max(start, 0), max(start + windows.kernel[axis], 0)))
            assert found.get((row, column), []) == image[tuple(spans)].ravel().tolist()


@given(pool_windows())
def test_the_number_of_an_element_gives_its_place_back(windows: PoolWindows) -> None:
    image = np.arange(windows.size[0] * windows.size[1]).reshape(windows.size)
    for number, inside, at in windows.elements():
        places = windows.places(np.full(windows.pooled, number, np.uint16))
        np.testing.assert_array_equal(places[at], image[inside])


def test_no_element_is_no_place() -> None:
    windows = PoolWindows((2, 2), (2, 2), (0, 0), (4, 4))
    assert (windows.places(np.zeros((2, 2), np.uint16)) == -1).all()
