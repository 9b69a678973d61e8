"""Weights of a net to and from .caffemodel files."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from farlayer.engine.blob_proto import blob_to_proto, fill_from_proto, fits_shape, shape_of_proto
from farlayer.engine.files import read_message, write_atomically
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import SnapshotError

if TYPE_CHECKING:
    from farlayer.engine.layer import Layer
    from farlayer.engine.net import Net

logger = logging.getLogger(__name__)


def load_weights(net: Net, path: str | os.PathLike[str]) -> None:
    """Copies the weights of a .caffemodel file into the layers of the same names.

    Layers of the file that the net does not have are ignored with a log line, as are layers of the net that the file
    does not have. Files with layers of the older formats are read too: only names and blobs count.

    Raises:
        SnapshotError: the file is missing, damaged or HDF5, or a layer's blobs do not fit.
    """
    copy_weights(net, read_weights(path), str(path))


def save_weights(net: Net, path: str | os.PathLike[str], *, with_diff: bool = False) -> None:
    """Writes name, layers and weights of a net as a .caffemodel file, whole or not at all.

    Args:
        net: the net.
        path: the file.
        with_diff: whether the diffs of params are written too (snapshot_diff).

    Raises:
        SnapshotError: the file cannot be written.
    """
    write_atomically(Path(path), net_to_proto(net, with_diff=with_diff).SerializeToString())


def net_to_proto(net: Net, *, with_diff: bool = False) -> caffe_pb2.NetParameter:
    """Makes the message that a .caffemodel file holds: each layer's definition with its blobs, Splits included."""
    message = caffe_pb2.NetParameter(name=net.name)
    for layer in net.layers:
        stored = message.layer.add()
        stored.CopyFrom(layer.param)
        del stored.blobs[:]
        stored.blobs.extend(blob_to_proto(blob, with_diff=with_diff) for blob in layer.params)
    return message


def read_weights(path: str | os.PathLike[str]) -> caffe_pb2.NetParameter:
    """Reads a .caffemodel file.

    Raises:
        SnapshotError: it is missing, truncated, not a .caffemodel, or HDF5.
    """
    path = Path(path)
    message = read_message(
        path, caffe_pb2.NetParameter(), "weights file", kind=".caffemodel", remedy="copy or download it again"
    )
    if not message.layer and not message.layers:
        raise SnapshotError(
            f"the weights file '{path}' holds no layers ({path.stat().st_size} bytes)",
            remedy="copy or download it again, or check that it is a .caffemodel",
        )
    return message


def copy_weights(net: Net, weights: caffe_pb2.NetParameter, source: str) -> None:
    """Copies the blobs of a NetParameter into the net's layers, by layer name.

    Args:
        net: what is written to.
        weights: where the blobs are.
        source: what to call `weights` in errors.

    Raises:
        SnapshotError: a layer's blobs do not fit.
    """
    layers = {layer.name: layer for layer in reversed(net.layers)}
    copied = 0
    for name, blobs in _stored_layers(weights):
        layer = layers.get(name)
        if layer is None:
            logger.info("ignoring layer '%s' of %s: the net has no such layer", name, source)
            continue
        _copy_layer(layer, blobs, source)
        copied += bool(blobs)
    if not copied:
        logger.warning("%s holds no weights for any layer of this net: nothing was loaded", source)


def _stored_layers(weights: caffe_pb2.NetParameter) -> Iterator[tuple[str, Sequence[caffe_pb2.BlobProto]]]:
    """Name and blobs of each layer, in whichever of the three formats it is stored."""
    for layer in weights.layer:
        yield layer.name, layer.blobs
    for old in weights.layers:
        if old.HasField("layer"):
            yield old.layer.name, old.layer.blobs
        else:
            yield old.name, old.blobs


def _copy_layer(layer: Layer, blobs: Sequence[caffe_pb2.BlobProto], source: str) -> None:
    params = layer.params
    shapes = [shape_of_proto(proto) for proto in blobs]
    if len(blobs) != len(params):
        raise SnapshotError(
            f"layer '{layer.name}' has {len(params)} params of shapes {[blob.shape for blob in params]}, but {source} "
            f"has {len(blobs)} for it, of shapes {shapes}",
            remedy="use the net that the file was written for, or rename the layer to leave it as it is",
            layer=layer.name,
        )
    for index, (blob, proto) in enumerate(zip(params, blobs, strict=True)):
        if not fits_shape(proto, blob.shape):
            raise SnapshotError(
                f"param {index} of layer '{layer.name}' has shape {blob.shape}, but in {source} it has shape "
                f"{shapes[index]}",
                remedy="use the net that the file was written for, or rename the layer to train it anew",
                layer=layer.name,
            )
        try:
            fill_from_proto(blob, proto)
        except SnapshotError as error:
            raise SnapshotError(
                f"param {index} of layer '{layer.name}' in {source}: {error.message}",
                remedy=error.remedy,
                layer=layer.name,
            ) from error
