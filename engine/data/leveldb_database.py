"""LevelDB databases, by the package plyvel."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

from farlayer.engine.data.shared_handles import SharedHandles
from farlayer.engine.optional import need
from farlayer.protos.errors import InputError

# Those of Caffe's tools.
_OPEN_FILES = 100
_BLOCK_BYTES = 65536
_WRITE_BUFFER_BYTES = 268435456

_databases = SharedHandles()


class LevelDBDatabase:
    """See Database."""

    def __init__(self, source: str) -> None:
        self._source = source
        with _errors(source):
            self._shared = _databases.take(source, _open)

    def records(self) -> Generator[tuple[bytes, bytes]]:
        """See Database."""
        with _errors(self._source), self._shared.handle.iterator(verify_checksums=True) as iterator:
            yield from iterator

    def close(self) -> None:
        """See Database."""
        self._shared.close()


class LevelDBWriter:
    """See DatabaseWriter."""

    def __init__(self, path: str, name: str) -> None:
        self._name = name
        plyvel = need("plyvel", "a LevelDB database")
        with _errors(name):
            self._database = plyvel.DB(
                path,
                create_if_missing=True,
                error_if_exists=True,
                max_open_files=_OPEN_FILES,
                block_size=_BLOCK_BYTES,
                write_buffer_size=_WRITE_BUFFER_BYTES,
            )

    def write(self, records: list[tuple[bytes, bytes]]) -> None:
        """See DatabaseWriter."""
        with _errors(self._name), self._database.write_batch() as batch:
            for key, value in records:
                batch.put(key, value)

    def close(self) -> None:
        """See DatabaseWriter."""
        self._database.close()


def _open(source: str) -> Any:  # noqa: ANN401  # plyvel.DB
    plyvel = need("plyvel", "a LevelDB database")
    return plyvel.DB(source, create_if_missing=False, max_open_files=_OPEN_FILES)


@contextmanager
def _errors(name: str) -> Iterator[None]:
    """Makes InputErrors of plyvel's."""
    plyvel = need("plyvel", "a LevelDB database")
    try:
        yield
    except plyvel.Error as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        in_use = "close whatever else has it open: LevelDB allows one process at a time"
        raise InputError(
            f"the LevelDB database '{name}': {text}",
            remedy=in_use if "LOCK" in text else "check that it is whole and may be read, or make it again",
        ) from error
