import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from farlayer.blobs.blob import Blob
from farlayer.engine.blob_proto import blob_from_proto, blob_to_proto, fill_from_proto, fits_shape, shape_of_proto
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
