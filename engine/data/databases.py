"""Databases of records (key and value), as Caffe keeps its training data: LMDB and LevelDB behind one port."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from farlayer.engine.data.leveldb_database import LevelDBDatabase, LevelDBWriter
from farlayer.engine.data.lmdb_database import LMDBDatabase, LMDBWriter
from farlayer.protos.errors import InputError

Backend: TypeAlias = Literal["lmdb", "leveldb"]
Record: TypeAlias = tuple[bytes, bytes]

_MARKS: dict[Backend, str] = {"lmdb": "data.mdb", "leveldb": "CURRENT"}
"""The file by which the folder of a database is known."""
_READERS: dict[Backend, Callable[[str], Database]] = {"lmdb": LMDBDatabase, "leveldb": LevelDBDatabase}
_WRITERS: dict[Backend, Callable[[str, str], DatabaseWriter]] = {"lmdb": LMDBWriter, "leveldb": LevelDBWriter}
_WRITTEN_TOGETHER = 1000  # records, as Caffe's tools do
_WRITTEN_TOGETHER_BYTES = 64 << 20  # what waits is in memory


class Database(Protocol):
    """A database that is open for reading. It may be used in another thread than the one that opened it."""

    def records(self) -> Generator[Record]:
        """Goes once over all records in the order of their keys; to be exhausted or closed before the database.

        Raises:
            InputError: the database is damaged.
        """

    def close(self) -> None:
        """Gives the files back."""


class DatabaseWriter(Protocol):
    """A new database."""

    def write(self, records: list[Record]) -> None:
        """Adds records.

        Raises:
            InputError: they cannot be written.
        """

    def close(self) -> None:
        """Ends writing."""


def record_name(key: bytes, source: str) -> str:
    """What a record is called in errors."""
    return f"record '{key.decode('utf-8', 'backslashreplace')}' of '{source}'"


def open_database(source: str, backend: Backend) -> Database:
    """Opens a database for reading.

    Raises:
        InputError: it is missing, damaged, in use or of the other kind, or the package that reads it is missing.
    """
    _check_folder(source, backend)
    return _READERS[backend](source)


class RecordWriter:
    """Gathers records, so that many are written at once."""

    def __init__(self, writer: DatabaseWriter) -> None:
        self._writer = writer
        self._waiting: list[Record] = []
        self._waiting_bytes = 0

    def put(self, key: bytes, value: bytes) -> None:
        """Adds a record; it may be written later."""
        self._waiting.append((key, value))
        self._waiting_bytes += len(value)
        if len(self._waiting) >= _WRITTEN_TOGETHER or self._waiting_bytes >= _WRITTEN_TOGETHER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Writes what waits."""
        self._writer.write(self._waiting)
        self._waiting = []
        self._waiting_bytes = 0


@contextmanager
def new_database(path: str, backend: Backend) -> Iterator[RecordWriter]:
    """Makes a database in the format of Caffe's tools.

    It appears under its name only when the block ends; after an exception nothing is left of it.

    Raises:
        InputError: the path exists already, it cannot be written, or the package that writes it is missing.
    """
    target = Path(path)
    if target.exists():
        raise InputError(f"'{path}' exists already", remedy="remove it, or choose another name")
    if not target.absolute().parent.is_dir():
        raise InputError(f"the folder of '{path}' does not exist", remedy="make it, or correct the path")
    if not os.access(target.absolute().parent, os.W_OK | os.X_OK):
        raise InputError(
            f"the folder of '{path}' cannot be written to", remedy="change its permissions, or choose another folder"
        )
    temporary = target.absolute().with_name(f".{target.name}.{os.getpid()}.part")
    try:
        writer = _WRITERS[backend](str(temporary), path)
        try:
            records = RecordWriter(writer)
            yield records
            records.flush()
        finally:
            writer.close()
        _rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _rename(temporary: Path, target: Path) -> None:
    try:
        temporary.rename(target)
    except OSError as error:
        raise InputError(f"cannot make '{target}': {error.strerror}", remedy="choose another name") from error


def _check_folder(source: str, backend: Backend) -> None:
    """Says what is wrong with a path before a library does it in its own words."""
    folder = Path(source)
    if not folder.is_dir():
        what = "is a file, expected a folder" if folder.exists() else "does not exist"
        raise InputError(f"the database '{source}' {what}", remedy=f"check source; it is looked for from {os.getcwd()}")
    if (folder / _MARKS[backend]).is_file():
        return
    for other, mark in _MARKS.items():
        if (folder / mark).is_file():
            raise InputError(
                f"the database '{source}' is not of the backend {backend.upper()} but {other.upper()}",
                remedy=f"set backend: {other.upper()} (in a command: --backend {other})",
            )
    raise InputError(
        f"the folder '{source}' is no {backend.upper()} database: it has no file {_MARKS[backend]}",
        remedy="check source; farlayer convert-imageset makes a database",
    )
