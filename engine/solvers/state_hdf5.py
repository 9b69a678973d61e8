"""Solver states in .solverstate.h5 files: a dataset for each number, and history/INDEX for each blob of the history."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from farlayer.blobs.blob import Blob
from farlayer.engine.blob_proto import StoredBlob
from farlayer.engine.hdf5 import Group, is_group, numbers_of, reading, writing
from farlayer.engine.optional import need
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import SnapshotError

_LEARNED_NET, _HISTORY = "learned_net", "history"
_POLICY_NUMBERS = ("current_step", "iter_last_event", "minimum_loss")


def write(path: Path, numbers: caffe_pb2.SolverState, history: Sequence[Blob]) -> None:
    """Writes a .solverstate.h5 file.

    Raises:
        SnapshotError: it cannot be written, or h5py is missing.

    Source: Caffe, src/caffe/solvers/sgd_solver.cpp (SnapshotSolverStateToHDF5).
    """
    with writing(path) as file:
        for field, value in numbers.ListFields():
            if field.name == _LEARNED_NET:
                _write_text(file, field.name, value)
            else:
                file.create_dataset(field.name, data=np.array([value], np.int32 if isinstance(value, int) else "f4"))
        group = file.create_group(_HISTORY)
        for index, blob in enumerate(history):
            group.create_dataset(str(index), data=blob.data)


def read(path: Path) -> tuple[caffe_pb2.SolverState, list[StoredBlob]]:
    """Reads a .solverstate.h5 file.

    Raises:
        SnapshotError: it is missing, truncated or no solver state, or h5py is missing.

    Source: Caffe, src/caffe/solvers/sgd_solver.cpp (RestoreSolverStateFromHDF5).
    """
    where = f"the solver state '{path}'"
    with reading(path, "solver state", remedy="take an earlier snapshot") as file:
        numbers = caffe_pb2.SolverState()
        for name in ("iter", *(name for name in _POLICY_NUMBERS if name in file)):
            _read_number(numbers, file, name, where)
        if _LEARNED_NET in file:
            numbers.learned_net = _read_text(file, _LEARNED_NET, where)
        group = file.get(_HISTORY)
        if not is_group(group):
            raise SnapshotError(
                f"{where} has no group '{_HISTORY}'", remedy="take an earlier snapshot, or check what wrote this one"
            )
        values = [numbers_of(group, str(index), where) for index in range(len(group))]
    return numbers, [StoredBlob(array.shape, array, np.empty(0, np.float32)) for array in values]


def _read_number(numbers: caffe_pb2.SolverState, file: Group, name: str, where: str) -> None:
    values = numbers_of(file, name, where).ravel()
    try:
        (value,) = values.tolist()
        setattr(numbers, name, value)
    except (ValueError, TypeError) as error:
        raise SnapshotError(
            f"{where}: expected one number at '/{name}', got {values}", remedy="take an earlier snapshot"
        ) from error


def _write_text(file: Group, name: str, text: str) -> None:
    """Writes a string as Caffe reads it: of fixed length, with a zero byte at its end."""
    h5py = need("h5py", "writing HDF5")
    content = text.encode()
    text_type = h5py.h5t.C_S1.copy()
    text_type.set_size(len(content) + 1)
    dataset = h5py.h5d.create(file.id, name.encode(), text_type, h5py.h5s.create(h5py.h5s.SCALAR))
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array(content, f"S{len(content) + 1}"), text_type)


def _read_text(file: Group, name: str, where: str) -> str:
    item = file.get(name)
    value = item[()] if hasattr(item, "dtype") else None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, str):
        return value
    raise SnapshotError(f"{where}: expected a string at '/{name}', got {item!r}", remedy="take an earlier snapshot")
