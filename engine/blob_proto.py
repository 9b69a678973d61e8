"""Blobs to and from BlobProto, the form that weights and solver history have in files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from farlayer.blobs.blob import Blob
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import SnapshotError

_LEGACY_FIELDS = ("num", "channels", "height", "width")


def shape_of_proto(proto: caffe_pb2.BlobProto) -> tuple[int, ...]:
    """The shape that a BlobProto states: `shape`, or the four axes of files written before it existed."""
    if is_legacy(proto):
        return (proto.num, proto.channels, proto.height, proto.width)
    return tuple(proto.shape.dim)


def is_legacy(proto: caffe_pb2.BlobProto) -> bool:
    """Whether the shape is stated as num, channels, height and width."""
    return any((proto.HasField("num"), proto.HasField("channels"), proto.HasField("height"), proto.HasField("width")))


def fits_shape(proto: caffe_pb2.BlobProto, shape: tuple[int, ...]) -> bool:
    """Whether a BlobProto can fill a blob of this shape.

    A legacy proto fits a blob of at most four axes whose shape it has once axes of 1 are put in front.

    Source: Caffe, src/caffe/blob.cpp.
    """
    stated = shape_of_proto(proto)
    if is_legacy(proto):
        return len(shape) <= len(_LEGACY_FIELDS) and stated == (1,) * (len(_LEGACY_FIELDS) - len(shape)) + shape
    return stated == shape


def values_of_proto(proto: caffe_pb2.BlobProto) -> NDArray[np.float32]:
    """The data of a BlobProto as a flat array, whether it was written in single or double precision."""
    return np.array(proto.double_data or proto.data, np.float32)


def diffs_of_proto(proto: caffe_pb2.BlobProto) -> NDArray[np.float32]:
    """The diff of a BlobProto as a flat array; empty where it has none."""
    return np.array(proto.double_diff or proto.diff, np.float32)


def fill_from_proto(blob: Blob, proto: caffe_pb2.BlobProto) -> None:
    """Copies data, and diff where there is one, into a blob that already has the proto's count.

    Raises:
        SnapshotError: the proto holds another number of values than the blob.
    """
    _copy(values_of_proto(proto), blob.data, "data", proto)
    diffs = diffs_of_proto(proto)
    if diffs.size:
        _copy(diffs, blob.diff, "diff", proto)


def _copy(values: NDArray[np.float32], target: NDArray[np.float32], what: str, proto: caffe_pb2.BlobProto) -> None:
    if values.size != target.size:
        raise SnapshotError(
            f"a stored blob of shape {shape_of_proto(proto)} holds {values.size} values of {what}, "
            f"expected {target.size}",
            remedy="the file is damaged or was written for another net: take another one",
        )
    target[...] = values.reshape(target.shape)


def blob_from_proto(proto: caffe_pb2.BlobProto) -> Blob:
    """Makes a blob with the shape and contents of a BlobProto."""
    blob = Blob(shape_of_proto(proto))
    fill_from_proto(blob, proto)
    return blob


def blob_to_proto(blob: Blob, *, with_diff: bool = False) -> caffe_pb2.BlobProto:
    """Writes a blob as a BlobProto of the present form (shape and single precision)."""
    proto = caffe_pb2.BlobProto()
    proto.shape.dim.extend(blob.shape)
    proto.data.extend(blob.data.ravel().tolist())
    if with_diff:
        proto.diff.extend(blob.diff.ravel().tolist())
    return proto
