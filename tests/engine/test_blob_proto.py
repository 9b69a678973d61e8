import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from farlayer.blobs.blob import Blob
from farlayer.engine.blob_proto import (
    blob_from_proto,
    blob_to_proto,
    fill_from_proto,
    fits_shape,
    read_blob,
    shape_of_proto,
    write_blob,
)
from farlayer.engine.prototxt import parse
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import SnapshotError
from tests.engine.support import blob_of


def proto(text: str) -> caffe_pb2.BlobProto:
    return parse(text, caffe_pb2.BlobProto())


@given(arrays.arrays(np.float32, arrays.array_shapes(min_dims=0, min_side=0), elements=st.floats(width=32)))
def test_a_blob_comes_back_bit_by_bit(values: np.ndarray) -> None:
    stored = caffe_pb2.BlobProto.FromString(blob_to_proto(blob_of(values)).SerializeToString())
    back = blob_from_proto(stored)
    assert back.shape == values.shape
    assert np.array_equal(back.data.view(np.uint32)[np.isfinite(values)], values.view(np.uint32)[np.isfinite(values)])
    assert np.array_equal(back.data, values, equal_nan=True)


def test_the_bytes_are_those_of_the_message_and_no_number_is_copied() -> None:
    blob = blob_of(np.arange(6).reshape(2, 3))
    blob.diff[...] = 7
    chunks = write_blob(blob, with_diff=True)
    assert b"".join(chunks) == (
        caffe_pb2.BlobProto(shape=caffe_pb2.BlobShape(dim=[2, 3]), data=range(6), diff=[7] * 6).SerializeToString()
    )
    views = [chunk for chunk in chunks if isinstance(chunk, memoryview)]
    assert [np.shares_memory(np.asarray(view), array) for view, array in zip(views, (blob.data, blob.diff))] == [
        True
    ] * 2
    stored = read_blob(memoryview(b"".join(chunks)))
    assert not stored.data.flags.owndata


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3)])
def test_scalars_and_empty_blobs_are_written_as_caffe_writes_them(shape: tuple[int, ...]) -> None:
    blob = Blob(shape)
    expected = caffe_pb2.BlobProto(data=[0] * blob.count)
    if shape:
        expected.shape.dim.extend(shape)
    assert blob_to_proto(blob, with_diff=False) == expected


def test_numbers_are_read_in_one_piece_in_several_and_one_by_one() -> None:
    one = caffe_pb2.BlobProto(data=[1, 2]).SerializeToString()
    loose = b"\x2d" + np.float32(3).tobytes()  # field 5, not packed
    shape = caffe_pb2.BlobProto(shape=caffe_pb2.BlobShape(dim=[5])).SerializeToString()
    stored = read_blob(memoryview(one + one + loose + shape))
    assert stored.shape == (5,)
    np.testing.assert_array_equal(stored.data, [1, 2, 1, 2, 3])


def test_half_a_number_is_refused() -> None:
    with pytest.raises(DecodeError, match="7 bytes hold no whole number"):
        read_blob(memoryview(b"\x2a\x07abcdefg"))


def test_the_diff_is_stored_where_it_is_asked_for() -> None:
    blob = blob_of([1, 2])
    blob.diff[...] = [3, 4]
    assert not blob_to_proto(blob).diff
    back = blob_from_proto(blob_to_proto(blob, with_diff=True))
    np.testing.assert_array_equal(back.diff, [3, 4])


def test_double_precision_is_read() -> None:
    back = blob_from_proto(proto("shape { dim: 2 } double_data: 1.5 double_data: 2 double_diff: 3 double_diff: 4"))
    np.testing.assert_array_equal(back.data, [1.5, 2])
    np.testing.assert_array_equal(back.diff, [3, 4])


LEGACY = "num: 1 channels: 1 height: 2 width: 3 data: [1, 2, 3, 4, 5, 6]"


def test_a_shape_of_four_numbers_is_read() -> None:
    assert shape_of_proto(proto(LEGACY)) == (1, 1, 2, 3)


@pytest.mark.parametrize(
    ("shape", "fits"),
    [((2, 3), True), ((1, 2, 3), True), ((1, 1, 2, 3), True), ((6,), False), ((3, 2), False), ((1, 1, 1, 2, 3), False)],
)
def test_a_shape_of_four_numbers_fits_blobs_with_fewer_axes(shape: tuple[int, ...], fits: bool) -> None:
    assert fits_shape(proto(LEGACY), shape) == fits


def test_a_legacy_blob_fills_one_of_two_axes() -> None:
    blob = Blob((2, 3))
    fill_from_proto(blob, proto(LEGACY))
    np.testing.assert_array_equal(blob.data, [[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize("text", ["shape { dim: 3 } data: 1", "shape { dim: 1 } data: 1 diff: 1 diff: 2"])
def test_a_wrong_number_of_values_is_refused(text: str) -> None:
    with pytest.raises(SnapshotError, match="holds"):
        blob_from_proto(proto(text))
