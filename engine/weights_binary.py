"""Weights in .caffemodel files: a serialized NetParameter, read and written without a copy of the numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from farlayer.engine.blob_proto import read_blob, write_blob
from farlayer.engine.files import decoding, write_atomically
from farlayer.engine.stored_layer import StoredLayer
from farlayer.engine.wire import Chunk, nested, take_out
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import SnapshotError

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from farlayer.engine.net import Net

_REMEDY = "copy or download it again"


def _number(message: type[Message], field: str) -> int:
    return message.DESCRIPTOR.fields_by_name[field].number


_LAYER, _V1_LAYER = (_number(caffe_pb2.NetParameter, name) for name in ("layer", "layers"))
_V0_LAYER = _number(caffe_pb2.V1LayerParameter, "layer")
_BLOBS, _V1_BLOBS, _V0_BLOBS = (
    _number(message, "blobs")
    for message in (caffe_pb2.LayerParameter, caffe_pb2.V1LayerParameter, caffe_pb2.V0LayerParameter)
)


def read(path: Path) -> list[StoredLayer]:
    """Reads a .caffemodel file, its layers in any of Caffe's three formats.

    Raises:
        SnapshotError: it is missing, truncated or no .caffemodel.
    """
    with decoding(path, "weights file", kind=".caffemodel", remedy=_REMEDY) as content:
        layers = read_layers(memoryview(content))
    if not layers:
        raise SnapshotError(
            f"the weights file '{path}' holds no layers ({path.stat().st_size} bytes)",
            remedy=f"{_REMEDY}, or check that it is a .caffemodel",
        )
    return layers


def read_layers(content: memoryview) -> list[StoredLayer]:
    """Reads a serialized NetParameter; the numbers stay where they are.

    Raises:
        DecodeError: it is none.
    """
    large, rest = take_out(content, (_LAYER, _V1_LAYER))
    caffe_pb2.NetParameter.FromString(rest)  # whatever else is there must make sense, too
    present = [_layer(layer, caffe_pb2.LayerParameter, _BLOBS) for layer in large.get(_LAYER, ())]
    return present + [_old_layer(layer) for layer in large.get(_V1_LAYER, ())]


def write(net: Net, path: Path, *, with_diff: bool) -> None:
    """Writes name, layers and weights of a net, Splits included.

    Raises:
        SnapshotError: the file cannot be written.

    Source: Caffe, src/caffe/net.cpp (ToProto).
    """
    write_atomically(path, *serialized(net, with_diff=with_diff))


def serialized(net: Net, *, with_diff: bool = False) -> Iterator[Chunk]:
    """The bytes of a .caffemodel file, in pieces that are views of the net's params where they are large."""
    yield caffe_pb2.NetParameter(name=net.name).SerializeToString()
    for layer in net.layers:
        definition = caffe_pb2.LayerParameter()
        definition.CopyFrom(layer.param)
        del definition.blobs[:]
        chunks: list[Chunk] = [definition.SerializeToString()]
        for blob in layer.params:
            chunks += nested(_BLOBS, write_blob(blob, with_diff=with_diff))
        yield from nested(_LAYER, chunks)


def _layer(
    content: memoryview,
    message: type[caffe_pb2.LayerParameter | caffe_pb2.V1LayerParameter | caffe_pb2.V0LayerParameter],
    blobs: int,
) -> StoredLayer:
    large, rest = take_out(content, (blobs,))
    return StoredLayer(message.FromString(rest).name, dict(enumerate(map(read_blob, large.get(blobs, ())))))


def _old_layer(content: memoryview) -> StoredLayer:
    """A layer of 2014, or one of 2013 inside it."""
    oldest, _ = take_out(content, (_V0_LAYER,))
    if _V0_LAYER in oldest:
        return _layer(oldest[_V0_LAYER][-1], caffe_pb2.V0LayerParameter, _V0_BLOBS)
    return _layer(content, caffe_pb2.V1LayerParameter, _V1_BLOBS)
