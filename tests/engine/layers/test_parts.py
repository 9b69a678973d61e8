import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlayer.engine.layers import parts as module
from farlayer.engine.layers.parts import batch_parts, parts, slices


@given(shape=st.lists(st.integers(0, 6), max_size=4), bound=st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_parts_cover_every_value_once_and_in_order(shape: list[int], bound: int) -> None:
    first = np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
    second = first.astype(np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PART_VALUES", bound)
        pieces = list(parts(first, second))
    assert all(a.size == b.size <= bound for a, b in pieces)
    for index, whole in enumerate((first, second)):
        seen = np.concatenate([piece[index] for piece in pieces]) if pieces else whole.ravel()
        np.testing.assert_array_equal(seen, whole.ravel())


def test_parts_are_views() -> None:
    array = np.zeros((3, 4), np.float32)
    for (part,) in parts(array):
        part += 1
    assert (array == 1).all()


@pytest.mark.parametrize(
    ("shape", "slices"),
    [((5, 3), [(0, 3), (3, 5)]), ((2, 100), [(0, 1), (1, 2)]), ((0, 3), []), ((3, 0), [(0, 3)])],
)
def test_a_batch_is_cut_between_samples(
    shape: tuple[int, ...], slices: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PART_VALUES", 10)
    assert [(part.start, part.stop) for part in batch_parts(shape)] == slices


@given(size=st.integers(0, 30), values_each=st.integers(0, 9), most=st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_slices_are_as_long_as_the_bound_allows(size: int, values_each: int, most: int) -> None:
    cut = list(slices(size, values_each, most))
    assert [place for part in cut for place in range(part.start, part.stop)] == list(range(size))
    for part in cut:
        length = part.stop - part.start
        assert length == 1 or length * values_each <= most
        assert part.stop == size or (length + 1) * max(values_each, 1) > most
