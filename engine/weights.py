"""Weights of a net to and from files: .caffemodel and .caffemodel.h5."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from farlayer.engine import weights_binary, weights_hdf5
from farlayer.engine.files import is_hdf5
from farlayer.engine.stored_layer import StoredLayer
from farlayer.protos.errors import SnapshotError

if TYPE_CHECKING:
    from farlayer.engine.layer import Layer
    from farlayer.engine.net import Net

logger = logging.getLogger(__name__)


def load_weights(net: Net, path: str | os.PathLike[str]) -> None:
    """Copies the weights of a file into the layers of the same names.

    Layers of the file that the net does not have are ignored with a log line; layers of the net that the file does not
    have stay as they are. Files with layers of the older formats are read too: only names and blobs count.

    Raises:
        SnapshotError: the file is missing or damaged, a layer's blobs do not fit, or h5py is needed and missing.
    """
    copy_weights(net, read_weights(path), str(path))


def save_weights(net: Net, path: str | os.PathLike[str], *, with_diff: bool = False, hdf5: bool = False) -> None:
    """Writes the weights of a net to a file, whole or not at all.

    Args:
        net: the net.
        path: the file.
        with_diff: whether the diffs of params are written too (snapshot_diff).
        hdf5: whether it becomes an HDF5 file, which holds weights alone, or a .caffemodel, which holds the definitions
            of the layers, too.

    Raises:
        SnapshotError: the file cannot be written, or h5py is needed and missing.
    """
    write = weights_hdf5.write if hdf5 else weights_binary.write
    write(net, Path(path), with_diff=with_diff)


def read_weights(path: str | os.PathLike[str]) -> list[StoredLayer]:
    """Reads a file of weights; that it is HDF5 is seen by its first bytes.

    Raises:
        SnapshotError: it is missing, truncated, no file of weights, or h5py is needed and missing.
    """
    path = Path(path)
    read = weights_hdf5.read if is_hdf5(path, "weights file") else weights_binary.read
    return read(path)


def copy_weights(net: Net, layers: Iterable[StoredLayer], source: str) -> None:
    """Copies stored layers into the net's, by name.

    A param that the file lacks is an error, except where the layer shares it with an earlier one that owns it: HDF5
    files hold what is owned.

    Args:
        net: what is written to.
        layers: where the blobs are.
        source: what to call them in errors.

    Raises:
        SnapshotError: a layer's blobs do not fit.

    Source: Caffe, src/caffe/net.cpp (CopyTrainedLayersFrom, CopyTrainedLayersFromHDF5).
    """
    own = {layer.name: layer for layer in reversed(net.layers)}
    owned = {(param.layer, param.index) for param in net.learnable}
    copied = 0
    for stored in layers:
        layer = own.get(stored.name)
        if layer is None:
            logger.info("ignoring layer '%s' of %s: the net has no such layer", stored.name, source)
            continue
        needed = {index for index in range(len(layer.params)) if (layer.name, index) in owned}
        _copy_layer(layer, stored, needed, source)
        copied += bool(stored.blobs)
    if not copied:
        logger.warning("%s holds no weights for any layer of this net: nothing was loaded", source)


def _copy_layer(layer: Layer, stored: StoredLayer, needed: set[int], source: str) -> None:
    params = layer.params
    there = set(stored.blobs)
    if not needed <= there <= set(range(len(params))):
        raise SnapshotError(
            f"layer '{layer.name}' has {len(params)} params of shapes {[blob.shape for blob in params]}, but {source} "
            f"has {len(there)} for it, of shapes {[blob.shape for blob in stored.blobs.values()]}",
            remedy="use the net that the file was written for, or rename the layer to leave it as it is",
            layer=layer.name,
        )
    for index, blob in stored.blobs.items():
        if not blob.fits(params[index].shape):
            raise SnapshotError(
                f"param {index} of layer '{layer.name}' has shape {params[index].shape}, but in {source} it has shape "
                f"{blob.shape}",
                remedy="use the net that the file was written for, or rename the layer to train it anew",
                layer=layer.name,
            )
        try:
            blob.fill(params[index])
        except SnapshotError as error:
            raise SnapshotError(
                f"param {index} of layer '{layer.name}' in {source}: {error.message}",
                remedy=error.remedy,
                layer=layer.name,
            ) from error
