"""Weights in .caffemodel.h5 files: the dataset data/LAYER/INDEX holds a param, diff/LAYER/INDEX its gradient."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from farlayer.engine.blob_proto import StoredBlob
from farlayer.engine.hdf5 import Group, is_group, numbers_of, reading, writing
from farlayer.engine.stored_layer import StoredLayer
from farlayer.protos.errors import SnapshotError

if TYPE_CHECKING:
    from farlayer.engine.net import Net

_REMEDY = "copy or download it again"


def read(path: Path) -> list[StoredLayer]:
    """Reads a .caffemodel.h5 file.

    As in Caffe diffs are not read.

    Raises:
        SnapshotError: it is missing, truncated or no such file, or h5py is missing.

    Source: Caffe, src/caffe/net.cpp (CopyTrainedLayersFromHDF5).
    """
    with reading(path, "weights file", remedy=_REMEDY) as file:
        data = file.get("data")
        if not is_group(data):
            raise SnapshotError(
                f"the weights file '{path}' has no group 'data'; it has: {', '.join(file) or 'nothing'}",
                remedy="check that it is a .caffemodel.h5",
            )
        return list(_layers(data, "", f"the weights file '{path}'"))


def write(net: Net, path: Path, *, with_diff: bool) -> None:
    """Writes the params that layers own, and the diffs of all where wanted.

    Differs from Caffe: names of layers may have slashes, which become groups in groups; Caffe fails on them.

    Raises:
        SnapshotError: the file cannot be written, h5py is missing, or the names of layers make no groups.

    Source: Caffe, src/caffe/net.cpp (ToHDF5).
    """
    owned = {(param.layer, param.index) for param in net.learnable}
    with writing(path) as file:
        data = file.create_group("data")
        diff = file.create_group("diff") if with_diff else None
        for layer in net.layers:
            try:
                group = data.require_group(layer.name)
                diff_group = diff.require_group(layer.name) if diff is not None else None
                for index, blob in enumerate(layer.params):
                    if (layer.name, index) in owned:
                        group.create_dataset(str(index), data=blob.data)
                    if diff_group is not None:
                        diff_group.create_dataset(str(index), data=blob.diff)
            except (ValueError, TypeError) as error:
                raise SnapshotError(
                    f"layer '{layer.name}' cannot be written to the HDF5 file '{path}': {error}",
                    remedy="give layers distinct names, or use snapshot_format: BINARYPROTO",
                    layer=layer.name,
                ) from error


def _layers(group: Group, prefix: str, where: str) -> Iterator[StoredLayer]:
    """A group of datasets, or an empty one, is a layer; one of groups is a part of the names of layers."""
    for name in group:
        item = group.get(name)
        if not is_group(item):
            continue
        params = [key for key in item if not is_group(item.get(key))]
        if params or not len(item):
            yield StoredLayer(prefix + name, {_index(item, key, where): _blob(item, key, where) for key in params})
        yield from _layers(item, f"{prefix}{name}/", where)


def _index(group: Group, key: str, where: str) -> int:
    if not key.isdecimal():
        raise SnapshotError(
            f"{where}: expected a number, the place of a param, at '{group.name}/{key}'",
            remedy="check that it is a .caffemodel.h5",
        )
    return int(key)


def _blob(group: Group, key: str, where: str) -> StoredBlob:
    values = numbers_of(group, key, where)
    return StoredBlob(values.shape, values, np.empty(0, np.float32))
