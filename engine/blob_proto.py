"""Blobs to and from BlobProto, the form that weights and solver history have in files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from farlayer.blobs.blob import Blob
from farlayer.engine.wire import Chunk, nested, take_out
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import SnapshotError

_TYPES = {"data": "<f4", "diff": "<f4", "double_data": "<f8", "double_diff": "<f8"}
_NUMBERS = {name: caffe_pb2.BlobProto.DESCRIPTOR.fields_by_name[name].number for name in _TYPES}
_LEGACY_AXES = 4


@dataclass(frozen=True)
class StoredBlob:
    """A blob as a file holds it.

    Attributes:
        shape: as the file states it.
        data: the values in their order, any number of them and of any type that becomes float32; a view of the file's
            bytes where it can be one.
        diff: the gradients, as data; empty where the file has none.
        is_legacy: whether the shape is that of a file of before 2014: four axes, ones in front.
    """

    shape: tuple[int, ...]
    data: NDArray[np.generic]
    diff: NDArray[np.generic]
    is_legacy: bool = False

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether this can fill a blob of a shape.

        A legacy blob fits one of at most four axes whose shape it has once axes of 1 are put in front.

        Source: Caffe, src/caffe/blob.cpp (ShapeEquals).
        """
        if self.is_legacy:
            return len(shape) <= _LEGACY_AXES and self.shape == (1,) * (_LEGACY_AXES - len(shape)) + shape
        return self.shape == shape

    def fill(self, blob: Blob) -> None:
        """Copies data, and diff where there is one, into a blob of the same count.

        Raises:
            SnapshotError: the numbers of values differ.
        """
        self._copy(self.data, blob.data, "data")
        if self.diff.size:
            self._copy(self.diff, blob.diff, "diff")

    def _copy(self, values: NDArray[np.generic], target: NDArray[np.float32], what: str) -> None:
        if values.size != target.size:
            raise SnapshotError(
                f"a stored blob of shape {self.shape} holds {values.size} values of {what}, expected {target.size}",
                remedy="the file is damaged or was written for another net: take another one",
            )
        np.copyto(target, values.reshape(target.shape), casting="same_kind")


def read_blob(message: memoryview) -> StoredBlob:
    """Reads a serialized BlobProto; its numbers stay where they are.

    Raises:
        DecodeError: it is none.
    """
    packed, rest = take_out(message, _NUMBERS.values())
    proto = caffe_pb2.BlobProto.FromString(rest)

    def values(name: str) -> NDArray[np.generic]:
        parts = [_unpacked(content, _TYPES[name]) for content in packed.get(_NUMBERS[name], ())]
        loose = np.array(getattr(proto, name), _TYPES[name])  # of files that do not pack their numbers
        return parts[0] if len(parts) == 1 and not loose.size else np.concatenate([*parts, loose])

    double_data, double_diff = values("double_data"), values("double_diff")
    return StoredBlob(
        shape_of_proto(proto),
        double_data if double_data.size else values("data"),
        double_diff if double_diff.size else values("diff"),
        is_legacy(proto),
    )


def write_blob(blob: Blob, *, with_diff: bool = False) -> list[Chunk]:
    """Serializes a blob as a BlobProto of the present form (shape and single precision), in pieces.

    The pieces are views of the blob's memory: good until it changes.
    """
    chunks: list[Chunk] = []
    for name, values in (("data", blob.data), ("diff", blob.diff if with_diff else None)):
        if values is not None and values.size:
            chunks += nested(_NUMBERS[name], [values.astype(_TYPES[name], copy=False).data.cast("B")])
    shape = caffe_pb2.BlobProto(shape=caffe_pb2.BlobShape(dim=blob.shape)) if blob.shape else caffe_pb2.BlobProto()
    return [*chunks, shape.SerializeToString()]


def shape_of_proto(proto: caffe_pb2.BlobProto) -> tuple[int, ...]:
    """The shape that a BlobProto states: `shape`, or the four axes of files written before it existed."""
    if is_legacy(proto):
        return (proto.num, proto.channels, proto.height, proto.width)
    return tuple(proto.shape.dim)


def is_legacy(proto: caffe_pb2.BlobProto) -> bool:
    """Whether the shape is stated as num, channels, height and width."""
    return any((proto.HasField("num"), proto.HasField("channels"), proto.HasField("height"), proto.HasField("width")))


def blob_of_proto(proto: caffe_pb2.BlobProto) -> StoredBlob:
    """The same blob as a file would give it. The way through bytes is faster than that through `repeated float`."""
    return read_blob(memoryview(proto.SerializeToString()))


def fits_shape(proto: caffe_pb2.BlobProto, shape: tuple[int, ...]) -> bool:
    """Whether a BlobProto can fill a blob of this shape; see StoredBlob."""
    return StoredBlob(shape_of_proto(proto), np.empty(0), np.empty(0), is_legacy(proto)).fits(shape)


def fill_from_proto(blob: Blob, proto: caffe_pb2.BlobProto) -> None:
    """Copies data, and diff where there is one, into a blob that already has the proto's count.

    Raises:
        SnapshotError: the proto holds another number of values than the blob.
    """
    blob_of_proto(proto).fill(blob)


def blob_from_proto(proto: caffe_pb2.BlobProto) -> Blob:
    """Makes a blob with the shape and contents of a BlobProto."""
    stored = blob_of_proto(proto)
    blob = Blob(stored.shape)
    stored.fill(blob)
    return blob


def blob_to_proto(blob: Blob, *, with_diff: bool = False) -> caffe_pb2.BlobProto:
    """Writes a blob as a BlobProto of the present form (shape and single precision)."""
    return caffe_pb2.BlobProto.FromString(b"".join(write_blob(blob, with_diff=with_diff)))


def _unpacked(content: memoryview, dtype: str) -> NDArray[np.generic]:
    if len(content) % np.dtype(dtype).itemsize:
        raise DecodeError(f"{len(content)} bytes hold no whole number of {dtype}")
    return np.frombuffer(content, dtype)
