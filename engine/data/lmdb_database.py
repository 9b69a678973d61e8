"""LMDB databases, by the package lmdb."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from farlayer.engine.data.shared_handles import SharedHandles
from farlayer.engine.optional import need
from farlayer.protos.errors import InputError

logger = logging.getLogger(__name__)

_DAMAGED = "check that it is whole and may be read, or make it again"
_NO_ROOM = "make sure that its folder is writable and has room"
_FIRST_MAP_BYTES = 64 << 20

_environments = SharedHandles()


class LMDBDatabase:
    """See Database."""

    def __init__(self, source: str) -> None:
        self._source = source
        with _errors(source):
            self._shared = _environments.take(source, _open_environment)

    def records(self) -> Generator[tuple[bytes, bytes]]:
        """See Database."""
        with _errors(self._source), self._shared.handle.begin() as transaction, transaction.cursor() as cursor:
            yield from cursor.iternext()

    def close(self) -> None:
        """See Database."""
        self._shared.close()


class LMDBWriter:
    """See DatabaseWriter."""

    def __init__(self, path: str, name: str) -> None:
        self._name = name
        lmdb = need("lmdb", "an LMDB database")
        self._full: type[Exception] = lmdb.MapFullError
        with _errors(name, _NO_ROOM):
            # No sync with each transaction: the database gets its name only when it is complete.
            self._environment = lmdb.open(path, map_size=_FIRST_MAP_BYTES, sync=False)

    def write(self, records: list[tuple[bytes, bytes]]) -> None:
        """See DatabaseWriter."""
        with _errors(self._name, _NO_ROOM):
            while True:
                try:
                    with self._environment.begin(write=True) as transaction:
                        for key, value in records:
                            transaction.put(key, value)
                    return
                except self._full:
                    self._environment.set_mapsize(2 * self._environment.info()["map_size"])

    def close(self) -> None:
        """See DatabaseWriter."""
        with _errors(self._name, _NO_ROOM):
            self._environment.sync(True)
            self._environment.close()


def _open_environment(source: str) -> Any:  # noqa: ANN401  # lmdb.Environment
    lmdb = need("lmdb", "an LMDB database")
    try:
        environment = lmdb.open(source, readonly=True, create=False)
    except lmdb.ReadonlyError:
        logger.info("the folder of '%s' cannot be written to: it is read without a lock", source)
        environment = lmdb.open(source, readonly=True, create=False, lock=False)
    try:
        _check_whole(source, environment)
    except BaseException:
        environment.close()
        raise
    return environment


def _check_whole(source: str, environment: Any) -> None:  # noqa: ANN401  # lmdb.Environment
    """Refuses a file that was cut off: LMDB maps it, and reading behind its end would kill the process (SIGBUS)."""
    size_bytes = (Path(source) / "data.mdb").stat().st_size
    expected = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    if size_bytes < expected:
        raise InputError(
            f"the database '{source}' is truncated: data.mdb has {size_bytes} bytes, expected {expected}",
            remedy="copy or make it again",
        )


@contextmanager
def _errors(name: str, remedy: str = _DAMAGED) -> Iterator[None]:
    """Makes InputErrors of lmdb's."""
    lmdb = need("lmdb", "an LMDB database")
    try:
        yield
    except lmdb.BadValsizeError as error:
        raise InputError(
            f"the LMDB database '{name}': a key is empty or longer than 511 bytes", remedy="use shorter file names"
        ) from error
    except lmdb.Error as error:
        raise InputError(f"the LMDB database '{name}': {error}", remedy=remedy) from error
