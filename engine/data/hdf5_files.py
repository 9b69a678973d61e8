"""HDF5 files of rows, by the package h5py: datasets whose first axis counts the rows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.optional import need
from farlayer.engine.scratch import Scratch
from farlayer.protos.errors import InputError

Array = NDArray[np.float32]

_NUMBERS = "fiu"  # kinds of NumPy types: floats and whole numbers


def read_datasets(path: str, names: Sequence[str], memory: Scratch) -> list[Array]:
    """Reads datasets whole, as float32.

    Args:
        path: the file.
        names: of the datasets.
        memory: holds what is read, until the next call with it.

    Returns:
        An array a dataset, all of the same number of rows, which is not 0.

    Raises:
        InputError: the file cannot be read, or lacks one of the datasets, or one has no rows, another number of rows
            than the first one, or other contents than numbers.
    """
    h5py = need("h5py", "an HDF5 file")
    with _errors(path), h5py.File(path, "r") as file:
        datasets = [_dataset(file, h5py.Dataset, path, name) for name in names]
        for name, dataset in zip(names, datasets, strict=True):
            if dataset.shape[0] != datasets[0].shape[0]:
                raise InputError(
                    f"the HDF5 file '{path}': dataset '{name}' has {dataset.shape[0]} rows, but '{names[0]}' has "
                    f"{datasets[0].shape[0]}",
                    remedy="give all datasets the same number of rows",
                )
        arrays = []
        for name, dataset in zip(names, datasets, strict=True):
            array = memory.array(name, dataset.shape)
            if array.size:
                dataset.read_direct(array)
            arrays.append(array)
        return arrays


class HDF5RowWriter:
    """Writes an HDF5 file, replacing one that is there; rows are added to its datasets."""

    def __init__(self, path: str) -> None:
        self._path = path
        h5py = need("h5py", "an HDF5 file")
        with _errors(path):
            self._file = h5py.File(path, "w")

    def append(self, name: str, rows: Array) -> None:
        """Adds rows to a dataset, which the first of them make.

        Raises:
            InputError: they are not shaped as those before, or cannot be written.
        """
        with _errors(self._path):
            dataset = self._file.get(name)
            if dataset is None:
                self._file.create_dataset(name, data=rows, maxshape=(None, *rows.shape[1:]))
                self._file.flush()
                return
            if dataset.shape[1:] != rows.shape[1:]:
                raise InputError(
                    f"the HDF5 file '{self._path}': rows of shape {rows.shape[1:]} come to dataset '{name}', whose "
                    f"rows so far have shape {dataset.shape[1:]}",
                    remedy="write blobs of one shape, apart from the batch size",
                )
            first = dataset.shape[0]
            dataset.resize(first + len(rows), axis=0)
            dataset[first:] = rows
            self._file.flush()

    def close(self) -> None:
        """Completes the file."""
        with _errors(self._path):
            self._file.close()


def _dataset(file: Any, kind: Any, path: str, name: str) -> Any:  # noqa: ANN401  # h5py's
    dataset = file.get(name)
    if not isinstance(dataset, kind):
        found = ", ".join(f"'{key}'" for key, value in file.items() if isinstance(value, kind)) or "none"
        raise InputError(
            f"the HDF5 file '{path}' has no dataset '{name}'; it has: {found}",
            remedy="name the layer's tops as the datasets",
        )
    if dataset.dtype.kind not in _NUMBERS:
        raise InputError(
            f"the HDF5 file '{path}': dataset '{name}' holds {dataset.dtype}, expected floats or whole numbers",
            remedy="write it as float32",
        )
    if not dataset.shape or not dataset.shape[0]:
        raise InputError(
            f"the HDF5 file '{path}': dataset '{name}' has no rows: its shape is {dataset.shape}",
            remedy="give it at least one axis, and one row",
        )
    return dataset


@contextmanager
def _errors(path: str) -> Iterator[None]:
    """Makes InputErrors of h5py's, which are Python's own."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        raise InputError(
            f"the HDF5 file '{path}': {reason}", remedy="check the path, and that the file is whole"
        ) from error
