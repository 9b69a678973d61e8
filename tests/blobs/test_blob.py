"""Blob behaves as Caffe's does: shapes, capacity, sharing, and what is refused."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlayer.blobs.blob import MAX_COUNT, Blob
from farlayer.blobs.segment import Segment, heap, shared
from farlayer.protos.errors import BlobError, ShapeError


@pytest.fixture(params=[heap, shared], ids=["heap", "shared"])
def allocate(request: pytest.FixtureRequest) -> Callable[[int], Segment]:
    found: Callable[[int], Segment] = request.param
    return found


# --- shapes ---


@pytest.mark.parametrize(
    "dims", [(2, 3), ([2, 3],), ((2, 3),), (np.array([2, 3]),), (iter([2, 3]),), (2.0, np.int64(3)), (np.float32(2), 3)]
)
def test_reshape_takes_numbers_one_sequence_or_whole_floats(dims: tuple[object, ...]) -> None:
    blob = Blob()
    blob.reshape(*dims)  # type: ignore[arg-type]
    assert blob.shape == (2, 3)
    assert all(type(dim) is int for dim in blob.shape)


def test_reshape_of_one_number_has_one_axis() -> None:
    blob = Blob()
    blob.reshape(5)
    assert blob.shape == (5,)
    blob.reshape(7.0)  # type: ignore[arg-type]
    assert blob.shape == (7,)
    blob.reshape(np.int32(6))
    assert blob.shape == (6,)


@pytest.mark.parametrize("dims", [(), ((),), ([],)])
def test_reshape_to_nothing_is_a_scalar(dims: tuple[object, ...]) -> None:
    blob = Blob((3,))
    blob.reshape(*dims)  # type: ignore[arg-type]
    assert (blob.shape, blob.count, blob.data.shape) == ((), 1, ())
    blob.data[...] = 3
    assert blob.data == 3


def test_a_blob_without_a_shape_is_no_scalar() -> None:
    blob = Blob()
    assert (blob.shape, blob.count, blob.capacity, blob.is_shaped) == ((), 0, 0, False)
    assert Blob(()).is_shaped
    assert Blob(()).count == 1
    for look in (lambda: blob.data, lambda: blob.diff):
        with pytest.raises(BlobError, match="no shape yet") as caught:
            look()
        assert "reshape" in caught.value.remedy
    assert "no shape" in repr(blob)
    assert "(2,)" in repr(Blob((2,)))


@pytest.mark.parametrize("shape", [(0,), (0, 5), (3, 0, 2)])
def test_an_empty_blob_has_arrays_of_its_shape(allocate: Callable[[int], Segment], shape: tuple[int, ...]) -> None:
    blob = Blob(shape, allocate=allocate)
    assert (blob.count, blob.data.shape, blob.diff.shape) == (0, shape, shape)


def test_32_axes_are_the_most() -> None:
    assert Blob([1] * 32).data.shape == (1,) * 32
    with pytest.raises(BlobError, match="at most 32 axes, not 33"):
        Blob([1] * 33)


def test_negative_axes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(2, -1\) has a negative axis[^$]*Remedy: give sizes"):
        Blob((2, -1))


@pytest.mark.parametrize("dims", [(2.5,), ("2",), (None,), ("23",), (2, [3]), (float("nan"),), (float("inf"),)])
def test_axes_that_are_no_whole_numbers_are_refused(dims: tuple[object, ...]) -> None:
    with pytest.raises(BlobError, match="whole numbers"):
        Blob().reshape(*dims)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(2**31,), (2**16, 2**15), (2**40, 2**40)])
def test_a_count_beyond_an_int_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=f"at most {MAX_COUNT}[^$]*Remedy: check the sizes"):
        Blob(shape)


def test_a_count_of_zero_is_never_too_large() -> None:
    assert Blob((2**40, 0)).count == 0


def test_the_largest_count_takes_no_memory_before_it_is_looked_at() -> None:
    assert Blob((MAX_COUNT,)).count == MAX_COUNT


def test_a_refused_reshape_changes_nothing() -> None:
    blob = Blob((2, 2))
    blob.data[...] = 7
    for shape in ([1] * 33, (-1,), (2**31,)):
        with pytest.raises(BlobError):
            blob.reshape(shape)
    assert blob.shape == (2, 2)
    np.testing.assert_array_equal(blob.data, np.full((2, 2), 7))


def test_reshape_like_takes_the_shape_of_another_blob() -> None:
    blob = Blob()
    blob.reshape_like(Blob((2, 3)))
    assert blob.shape == (2, 3)


# --- legacy axes ---


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((), (1, 1, 1, 1)), ((5,), (5, 1, 1, 1)), ((5, 6), (5, 6, 1, 1)), ((5, 6, 7, 8), (5, 6, 7, 8))],
)
def test_legacy_axes_are_1_where_there_are_none(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    blob = Blob(shape)
    assert (blob.num, blob.channels, blob.height, blob.width) == expected


@pytest.mark.parametrize("name", ["num", "channels", "height", "width"])
def test_legacy_axes_of_five_axes_are_refused(name: str) -> None:
    with pytest.raises(BlobError, match=f"{name} is defined for at most 4 axes, this blob has 5") as caught:
        getattr(Blob((1, 2, 3, 4, 5)), name)
    assert "blob.shape" in caught.value.remedy


# --- contents ---


def test_memory_is_taken_when_it_is_looked_at_and_zero() -> None:
    blob = Blob((2, 3))
    assert blob.segments == (None, None)
    np.testing.assert_array_equal(blob.data, np.zeros((2, 3)))
    assert blob.segments[0] is not None
    assert blob.segments[1] is None
    np.testing.assert_array_equal(blob.diff, np.zeros((2, 3)))


def test_arrays_are_float32_contiguous_and_fresh(allocate: Callable[[int], Segment]) -> None:
    blob = Blob((2, 3), allocate=allocate)
    assert blob.data.dtype == blob.diff.dtype == np.float32
    assert blob.data.flags.c_contiguous
    assert blob.data.flags.writeable
    view = blob.data
    blob.data[0, 0] = 5
    assert view[0, 0] == 5
    assert blob.data is not view
    assert not np.shares_memory(blob.data, blob.diff)


@pytest.mark.parametrize("part", ["data", "diff"])
def test_assigning_to_data_or_diff_is_refused_with_how_to_write(part: str) -> None:
    with pytest.raises(AttributeError, match=rf"write into it with blob\.{part}\[\.\.\.\] = value"):
        setattr(Blob((1,)), part, np.ones(1))


def test_an_array_outlives_its_blob(allocate: Callable[[int], Segment]) -> None:
    blob = Blob((1000,), allocate=allocate)
    array = blob.data
    array[...] = 3
    del blob
    assert array.sum() == 3000


def test_an_array_from_before_a_growth_keeps_the_old_memory(allocate: Callable[[int], Segment]) -> None:
    blob = Blob((2,), allocate=allocate)
    blob.data[...] = 1
    old = blob.data
    blob.reshape(3)
    np.testing.assert_array_equal(blob.data, [0, 0, 0])
    np.testing.assert_array_equal(old, [1, 1])


# --- sharing ---


@pytest.mark.parametrize("part", ["data", "diff"])
def test_shared_parts_are_one_memory_and_the_others_are_not(part: str, allocate: Callable[[int], Segment]) -> None:
    first, second = Blob((2, 3), allocate=allocate), Blob((6,), allocate=allocate)
    getattr(second, f"share_{part}")(first)
    getattr(first, part)[...] = 4
    np.testing.assert_array_equal(getattr(second, part), np.full(6, 4))
    other = {"data": "diff", "diff": "data"}[part]
    getattr(first, other)[...] = 9
    np.testing.assert_array_equal(getattr(second, other), np.zeros(6))


def test_sharing_ends_when_a_blob_outgrows_the_memory() -> None:
    first, second = Blob((2,)), Blob((2,))
    second.share_data(first)
    first.data[...] = 4
    second.reshape(3)
    np.testing.assert_array_equal(second.data, [0, 0, 0])
    np.testing.assert_array_equal(first.data, [4, 4])


@pytest.mark.parametrize("part", ["data", "diff"])
def test_sharing_between_different_counts_is_refused(part: str) -> None:
    with pytest.raises(BlobError, match=rf"cannot share {part} between shapes \(2,\) and \(3,\)"):
        getattr(Blob((2,)), f"share_{part}")(Blob((3,)))


def test_sharing_with_a_smaller_memory_never_reads_past_its_end() -> None:
    wide, narrow = Blob((10,)), Blob((4,))
    wide.reshape(4)
    wide.share_data(narrow)
    assert wide.capacity == 4
    wide.reshape(10)
    wide.data[...] = 1
    np.testing.assert_array_equal(narrow.data, [0, 0, 0, 0])


# --- adopting what the other side says ---


@pytest.mark.parametrize(
    ("shape", "capacity", "size_bytes"),
    [((3,), 2, 8), ((2,), 3, 8), ((-1,), 2, 8), ((1,) * 33, 2, 8), ((2,), 2**31, 8), ((2**20, 2**20), 2, 8)],
)
def test_shapes_and_memory_that_do_not_fit_are_not_adopted(
    shape: tuple[int, ...], capacity: int, size_bytes: int
) -> None:
    blob = Blob((1,))
    with pytest.raises(BlobError):
        blob.adopt(shape, capacity, heap(size_bytes), None)
    assert (blob.shape, blob.capacity) == ((1,), 1)


# --- any sequence of reshapes ---


class CaffeModel:
    """Blob::Reshape of Caffe, told independently: a buffer that is replaced only when it is too small."""

    def __init__(self) -> None:
        self.buffers = {"data": np.zeros(0, np.float32), "diff": np.zeros(0, np.float32)}
        self.shape: tuple[int, ...] = ()

    def reshape(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        if math.prod(shape) > len(self.buffers["data"]):
            self.buffers = {part: np.zeros(math.prod(shape), np.float32) for part in self.buffers}

    def part(self, name: str) -> np.ndarray:
        return self.buffers[name][: math.prod(self.shape)].reshape(self.shape)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reshape"), st.lists(st.integers(0, 4), max_size=4).map(tuple)),
        st.tuples(st.sampled_from(["data", "diff"]), st.floats(-9, 9, width=32)),
    ),
    max_size=25,
)


@given(first=st.lists(st.integers(0, 4), max_size=3).map(tuple), steps=STEPS, is_shared=st.booleans())
def test_any_sequence_of_reshapes_and_writes_gives_what_caffe_gives(
    first: tuple[int, ...], steps: list[tuple[str, object]], is_shared: bool
) -> None:
    blob, model = Blob(allocate=shared if is_shared else heap), CaffeModel()
    for name, value in [("reshape", first), *steps]:
        if name == "reshape":
            blob.reshape(value)  # type: ignore[arg-type]
            model.reshape(value)  # type: ignore[arg-type]
        else:
            getattr(blob, name)[...] = value
            model.part(name)[...] = value
        assert blob.shape == model.shape
        assert blob.capacity == len(model.buffers["data"])
        np.testing.assert_array_equal(blob.data, model.part("data"))
        np.testing.assert_array_equal(blob.diff, model.part("diff"))
