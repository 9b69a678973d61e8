"""Rows of HDF5 files, one after the other without end, as Caffe's HDF5Data goes through them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.data.hdf5_files import read_datasets
from farlayer.engine.data.images import read_file
from farlayer.engine.files import HDF5_SIGNATURE
from farlayer.engine.scratch import Scratch
from farlayer.protos.errors import InputError

Array = NDArray[np.float32]


def read_file_list(source: str) -> list[str]:
    """Reads a list of files, with blanks or ends of lines between them.

    Raises:
        InputError: it cannot be read, is empty, or is no list.
    """
    content = read_file(source, "the list of HDF5 files")
    if content.startswith(HDF5_SIGNATURE):
        raise InputError(
            f"the list of HDF5 files '{source}' is an HDF5 file itself, expected a text with the paths of such files",
            remedy="write its path into a text file, and name that one",
        )
    files = content.decode("utf-8", "surrogateescape").split()
    if not files:
        raise InputError(f"the list of HDF5 files '{source}' is empty", remedy="write the path of a file on each line")
    return files


class HDF5Rows:
    """The rows of datasets of the same names in several files; each file is in memory while its rows are read.

    A single file is read once. With shuffling, the files come in a new order in each round, and the rows of a file in
    a new order each time.

    Args:
        files: paths.
        names: of the datasets.
        shuffle: where random numbers come from; None to keep all orders.

    Attributes:
        shapes: of a row of each dataset.

    Raises:
        InputError: the first file cannot be read.
    """

    def __init__(self, files: Sequence[str], names: Sequence[str], shuffle: np.random.Generator | None) -> None:
        self._files = files
        self._names = names
        self._shuffle = shuffle
        self._memory = Scratch()
        self._file_order = self._new_order(len(files))
        self._file = 0
        self.shapes: list[tuple[int, ...]] = []
        self._arrays = self._read()
        self.shapes = [array.shape[1:] for array in self._arrays]
        self._row_order = self._new_order(len(self._arrays[0]))
        self._row = 0

    def fill(self, outs: Sequence[Array]) -> None:
        """Copies the next rows into arrays, one a dataset, as many as these have.

        Raises:
            InputError: the next file cannot be read, or has rows of another shape than the first one.
        """
        done = 0
        while done < len(outs[0]):
            if self._row == len(self._row_order):
                self._go_on()
            rows = self._row_order[self._row : self._row + len(outs[0]) - done]
            for array, out in zip(self._arrays, outs, strict=True):
                # A mode other than "raise" lets take write to `out` directly.
                np.take(array, rows, axis=0, out=out[done : done + len(rows)], mode="clip")
            done += len(rows)
            self._row += len(rows)

    def _go_on(self) -> None:
        """Goes to the next file, or to the first row of the only one."""
        if len(self._files) > 1:
            self._file += 1
            if self._file == len(self._files):
                self._file = 0
                self._file_order = self._new_order(len(self._files))
            self._arrays = self._read()
        self._row = 0
        if self._shuffle is not None or len(self._row_order) != len(self._arrays[0]):
            self._row_order = self._new_order(len(self._arrays[0]))

    def _read(self) -> list[Array]:
        path = self._files[self._file_order[self._file]]
        arrays = read_datasets(path, self._names, self._memory)
        for name, array, shape in zip(self._names, arrays, self.shapes):
            if array.shape[1:] != shape:
                raise InputError(
                    f"the HDF5 file '{path}': dataset '{name}' has rows of shape {array.shape[1:]}, but in the first "
                    f"file {shape}",
                    remedy="give the rows of all files one shape",
                )
        return arrays

    def _new_order(self, count: int) -> NDArray[np.intp]:
        order = np.arange(count, dtype=np.intp)
        if self._shuffle is not None:
            self._shuffle.shuffle(order)
        return order
