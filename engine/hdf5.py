"""Weights and solver states in HDF5 files: the optional package h5py, whose errors become SnapshotErrors here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.files import HDF5_SIGNATURE, starts_as_hdf5, written_whole
from farlayer.engine.optional import need
from farlayer.protos.errors import SnapshotError

Group: TypeAlias = Any
"""h5py has no types."""


@contextmanager
def reading(path: Path, what: str, *, remedy: str) -> Iterator[Group]:
    """Opens a file to read.

    Args:
        path: the file.
        what: what it should be, for errors.
        remedy: what to do where it is damaged.

    Raises:
        InputError: h5py is not installed.
        SnapshotError: it cannot be opened, or is damaged where it was read.
    """
    h5py = need("h5py", f"the {what} '{path}'")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError) as error:
        if path.is_file() and path.stat().st_size >= len(HDF5_SIGNATURE) and not starts_as_hdf5(path):
            remedy = f"{remedy}; where it is a binary .caffemodel or .solverstate, take {path.suffix} off its name"
        raise SnapshotError(f"the {what} '{path}' is truncated or no HDF5 file: {error}", remedy=remedy) from error


@contextmanager
def writing(path: Path) -> Iterator[Group]:
    """Opens a file to write, which is there behind `with`: whole, or not at all.

    Raises:
        InputError: h5py is not installed.
        SnapshotError: it cannot be written.
    """
    h5py = need("h5py", f"writing '{path}'")
    try:
        with written_whole(path) as temporary, h5py.File(temporary, "w") as file:
            yield file
    except RuntimeError as error:  # how h5py tells that the last bytes could not be written
        raise SnapshotError(f"cannot write '{path}': {error}", remedy="make sure that there is room") from error


def is_group(item: object) -> bool:
    """Whether what a group holds under a name is a group itself."""
    return isinstance(item, need("h5py", "reading HDF5").Group)


def numbers_of(group: Group, name: str, where: str) -> NDArray[np.generic]:
    """The contents of a dataset of numbers.

    Args:
        group: holds it.
        name: its name in the group.
        where: the file, for errors.

    Raises:
        SnapshotError: it is not there, or no dataset of numbers.
    """
    item = group.get(name)
    kind = getattr(getattr(item, "dtype", None), "kind", "")
    if kind not in {"f", "i", "u"} or item.shape is None:
        found = "there is none" if item is None else f"it is {item!r}"
        raise SnapshotError(
            f"{where}: expected a dataset of numbers at '{group.name.rstrip('/')}/{name}', but {found}",
            remedy="take another file, or check what wrote this one",
        )
    return np.asarray(item[()])
