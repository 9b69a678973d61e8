import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlayer.engine.layers.common.rows import add_rows, read_indices, take_rows
from farlayer.engine.scratch import Scratch
from farlayer.protos.errors import NetError
from tests.engine.support import blob_of, layer_of


@given(st.integers(1, 6), st.lists(st.integers(0, 5), max_size=40), st.sampled_from([(), (3,), (2, 2), (0,)]))
@settings(max_examples=60, deadline=None)
def test_rows_of_one_index_add_up(size: int, drawn: list[int], axes: tuple[int, ...]) -> None:
    indices = np.array([index % size for index in drawn], np.intp)
    rng = np.random.default_rng(4)
    rows = rng.integers(-9, 10, (len(indices), *axes)).astype(np.float32)
    target = rng.integers(-9, 10, (size, *axes)).astype(np.float32)
    expected = target.copy()
    for index, row in zip(indices, rows, strict=True):
        expected[index] += row
    given_rows = rows.copy()
    add_rows(rows, indices, target, Scratch())
    np.testing.assert_array_equal(target, expected)
    np.testing.assert_array_equal(rows, given_rows)


def test_many_rows_of_one_index_are_summed_exactly_enough() -> None:
    rows = np.full((100_000, 1), 0.1, np.float32)
    target = np.zeros((1, 1), np.float32)
    add_rows(rows, np.zeros(len(rows), np.intp), target, Scratch())
    assert target.item() == pytest.approx(10_000, rel=1e-6)


def test_rows_are_taken_by_index() -> None:
    source, out = np.arange(6, dtype=np.float32).reshape(3, 2), np.empty((4, 2), np.float32)
    take_rows(source, np.array([2, 0, 0, 1]), out)
    assert out.tolist() == [[4, 5], [0, 1], [0, 1], [2, 3]]


def test_indices_are_read_flat_and_cut_off() -> None:
    indices = read_indices(layer_of('type: "TanH"'), blob_of([[0, 2.9], [1, -0.9]]), 3, "rows")
    assert indices.tolist() == [0, 2, 1, 0]


@pytest.mark.parametrize("index", [-1, 3, 1e30, np.inf, -np.inf, np.nan])
def test_an_index_out_of_range_is_refused(index: float) -> None:
    with pytest.raises(NetError, match=r"layer 'l' \(TanH\): index .* is out of range: there are 3 rows") as caught:
        read_indices(layer_of('type: "TanH"'), blob_of([0, index]), 3, "rows")
    assert "from 0 to 2" in caught.value.remedy


def test_no_index_is_in_range_of_nothing() -> None:
    assert read_indices(layer_of('type: "TanH"'), blob_of([]), 0, "rows").size == 0
    with pytest.raises(NetError, match="there are 0 rows"):
        read_indices(layer_of('type: "TanH"'), blob_of([-0.5]), 0, "rows")
