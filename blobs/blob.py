"""Blob: an n-dimensional array of values (data) and one of gradients (diff), as Caffe has it."""

from __future__ import annotations

import operator
from typing import Iterable, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from farlayer.blobs.segment import Allocator, Segment, heap
from farlayer.protos.errors import BlobError, ShapeError

MAX_AXES = 32
MAX_COUNT = 2**31 - 1
_LEGACY_AXES = ("num", "channels", "height", "width")
_ITEM_BYTES = 4

Array = NDArray[np.float32]


class Blob:
    """Data and diff of one shape, float32, C-contiguous.

    Memory is taken when data or diff is first looked at, and zeroed. The same class lies on both sides of a remote
    layer: only the segment under it differs.

    Args:
        shape: its axes; None for a blob that gets its shape later (count 0, as Caffe's default-constructed Blob).
        allocate: where memory comes from.

    Source: Caffe, src/caffe/blob.cpp.
    """

    def __init__(self, shape: Iterable[int] | None = None, *, allocate: Allocator = heap) -> None:
        self.allocate = allocate
        self._shape: tuple[int, ...] | None = None
        self._count = 0
        self._capacity = 0
        self._data: Segment | None = None
        self._diff: Segment | None = None
        if shape is not None:
            self.reshape(shape)

    # Shape

    @property
    def shape(self) -> tuple[int, ...]:
        """The axes; () both for a 0-d blob (count 1) and for one that has no shape yet (count 0)."""
        return self._shape or ()

    @property
    def is_shaped(self) -> bool:
        """Whether reshape was ever called."""
        return self._shape is not None

    @property
    def count(self) -> int:
        """How many values; 1 for a 0-d blob, 0 for one without a shape."""
        return self._count

    @property
    def capacity(self) -> int:
        """How many values fit before a reshape takes new, zeroed memory."""
        return self._capacity

    num = property(lambda self: self._legacy_axis(0), doc="Axis 0 of a blob of at most four axes; 1 where it has none.")
    channels = property(lambda self: self._legacy_axis(1), doc="Axis 1, as `num`.")
    height = property(lambda self: self._legacy_axis(2), doc="Axis 2, as `num`.")
    width = property(lambda self: self._legacy_axis(3), doc="Axis 3, as `num`.")

    def _legacy_axis(self, axis: int) -> int:
        shape = self.shape
        if len(shape) > len(_LEGACY_AXES):
            raise BlobError(
                f"{_LEGACY_AXES[axis]} is defined for at most 4 axes, this blob has {len(shape)}: {shape}",
                remedy="use blob.shape",
            )
        return shape[axis] if axis < len(shape) else 1

    def reshape(self, *dims: int | Iterable[int]) -> None:
        """Gives the blob a shape: `reshape(2, 3)`, `reshape([2, 3])` or `reshape(*shape)`; `reshape()` is 0-d.

        While the count fits into the capacity, contents stay (a shrunk blob that grows back finds its old values);
        beyond it data and diff are new and zero. Arrays taken from the blob before then keep the old memory.

        Raises:
            ShapeError: more than 32 axes, a negative axis, or a count over 2**31 - 1.
        """
        shape = _checked_shape(dims)
        if shape == self._shape:
            return
        count = _product(shape)
        if count > MAX_COUNT:
            raise ShapeError(
                f"blob shape {shape} has {count} values; at most {MAX_COUNT} are allowed",
                remedy="check the sizes that make this shape: dims, batch_size, num_output, kernel_size",
            )
        self._shape = shape
        self._count = count
        if count > self._capacity:
            self._capacity = count
            self._data = None
            self._diff = None

    def reshape_like(self, other: Blob) -> None:
        """Takes the shape of another blob."""
        self.reshape(other.shape)

    # Contents

    @property
    def data(self) -> Array:
        """The values: a view of the blob's memory, good until a reshape beyond the capacity. Write by slice."""
        return self._view(self.data_segment)

    @data.setter
    def data(self, value: object) -> NoReturn:
        raise AttributeError("blob.data is the blob's own memory: write into it with blob.data[...] = value")

    @property
    def diff(self) -> Array:
        """The gradients: as `data`."""
        return self._view(self.diff_segment)

    @diff.setter
    def diff(self, value: object) -> NoReturn:
        raise AttributeError("blob.diff is the blob's own memory: write into it with blob.diff[...] = value")

    def _view(self, segment: Segment) -> Array:
        # A fresh array every time: layers may assign to its .shape.
        return segment.array[: self._count].reshape(self.shape)

    @property
    def data_segment(self) -> Segment:
        """The memory under data, taken now if it was not before."""
        if self._data is None:
            self._data = self._take()
        return self._data

    @property
    def diff_segment(self) -> Segment:
        """The memory under diff, taken now if it was not before."""
        if self._diff is None:
            self._diff = self._take()
        return self._diff

    def _take(self) -> Segment:
        if self._shape is None:
            raise BlobError("this blob has no shape yet, so it has no data or diff", remedy="call blob.reshape first")
        return self.allocate(self._capacity * _ITEM_BYTES)

    @property
    def segments(self) -> tuple[Segment | None, Segment | None]:
        """The memory under data and under diff; None where none was needed so far (it reads as zeros)."""
        return self._data, self._diff

    # Sharing

    def share_data(self, other: Blob) -> None:
        """Makes data the same memory as that of another blob of the same count.

        Raises:
            BlobError: the counts differ.
        """
        self._check_same_count(other, "data")
        self._data = other.data_segment
        self._fit(self._data)

    def share_diff(self, other: Blob) -> None:
        """Makes diff the same memory as that of another blob of the same count.

        Raises:
            BlobError: the counts differ.
        """
        self._check_same_count(other, "diff")
        self._diff = other.diff_segment
        self._fit(self._diff)

    def _fit(self, segment: Segment) -> None:
        """Differs from Caffe, which would write past the end of a shared memory that is smaller than its own was."""
        self._capacity = min(self._capacity, segment.size_bytes // _ITEM_BYTES)

    def _check_same_count(self, other: Blob, part: str) -> None:
        if self._count != other.count:
            raise BlobError(f"cannot share {part} between shapes {self.shape} and {other.shape}: the counts differ")

    def adopt(self, shape: tuple[int, ...] | None, capacity: int, data: Segment | None, diff: Segment | None) -> None:
        """Takes over shape and memory that the other side of a session gave the same blob.

        Raises:
            BlobError: the shape does not fit the capacity, or the capacity not the memory.
        """
        checked = None if shape is None else _checked_shape((shape,))
        count = 0 if checked is None else _product(checked)
        smallest = min((s.size_bytes for s in (data, diff) if s is not None), default=capacity * _ITEM_BYTES)
        if count > capacity or capacity > MAX_COUNT or capacity * _ITEM_BYTES > smallest:
            raise BlobError(f"shape {shape} with capacity {capacity} does not fit {smallest} bytes of memory")
        self._shape = checked
        self._count = count
        self._capacity = capacity
        self._data = data
        self._diff = diff

    def __repr__(self) -> str:
        return f"Blob(shape={self.shape})" if self.is_shaped else "Blob(no shape yet)"


def _product(shape: tuple[int, ...]) -> int:
    count = 1
    for dim in shape:
        count *= dim
    return count


def _checked_shape(dims: tuple[int | Iterable[int], ...]) -> tuple[int, ...]:
    try:
        if len(dims) == 1 and not isinstance(dims[0], (int, float, np.integer, np.floating)):
            dims = tuple(dims[0])
        shape = tuple(_as_int(dim) for dim in dims)
    except TypeError as error:
        raise ShapeError(f"a blob shape is made of whole numbers, not {dims!r}") from error
    if len(shape) > MAX_AXES:
        raise ShapeError(f"a blob has at most {MAX_AXES} axes, not {len(shape)}", remedy="use fewer axes")
    if any(dim < 0 for dim in shape):
        raise ShapeError(f"blob shape {shape} has a negative axis", remedy="give sizes of 0 or more")
    return shape


def _as_int(value: object) -> int:
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return int(value)  # layers compute shapes with / and get 3.0
    return operator.index(cast("int", value))
