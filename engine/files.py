"""Files that are there whole or not at all, and what is wrong with those that are read."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from farlayer.engine.wire import Chunk
from farlayer.protos.errors import SnapshotError

AnyMessage = TypeVar("AnyMessage", bound=Message)

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_BINARY_SUFFIXES = {".caffemodel", ".solverstate"}
_BEGINNING, _SHORTEST_TEXT = 256, 8
HDF5_SUFFIX = ".h5"
"""What Caffe tells HDF5 files by."""


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Gives the path of a file beside the final place; behind `with` it is moved there, unless an error came.

    So no reader and no crash sees half of a file.

    Raises:
        SnapshotError: the folder is missing, not writable, or full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        room = "make sure that the folder exists, is writable and has room, or write elsewhere"
        raise SnapshotError(
            f"cannot write '{path}': {error.strerror or error}",
            remedy="raise the limit on open files (ulimit -n)" if error.errno == errno.EMFILE else room,
        ) from error


def write_atomically(path: Path, *content: Chunk) -> None:
    """Writes a file from its pieces, whole or not at all.

    Raises:
        SnapshotError: the folder is missing, not writable, or full.
    """
    with written_whole(path) as temporary, temporary.open("wb") as file:
        file.writelines(content)


@contextmanager
def decoding(path: Path, what: str, *, kind: str, remedy: str) -> Iterator[bytes]:
    """Reads a file and gives its bytes; says of the file what is wrong with the message that is read from them.

    Args:
        path: the file.
        what: what the file should be, for errors.
        kind: the suffix of such files.
        remedy: what to do where it is damaged.

    Raises:
        SnapshotError: it cannot be read, or the code inside `with` met a DecodeError.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise cannot_read(path, what, error) from error
    try:
        yield content
    except DecodeError as error:
        if _is_text(content):
            raise SnapshotError(
                f"the {what} '{path}' is a text ({len(content)} bytes), expected a {kind}, which is binary",
                remedy=f"give the {kind}, not the definition that it was made with",
            ) from error
        if path.suffix in _BINARY_SUFFIXES - {kind}:
            remedy = f"give a {kind}: by its name this is a {path.suffix}"
        raise SnapshotError(
            f"the {what} '{path}' is truncated or no {kind} ({len(content)} bytes)", remedy=remedy
        ) from error


def _is_text(content: bytes) -> bool:
    """Whether the beginning of a file is printable, as that of a prototxt; messages with numbers in them are not."""
    beginning = content[:_BEGINNING].decode("utf-8", "replace").replace("\ufffd", "\0")
    return len(beginning) >= _SHORTEST_TEXT and all(char.isprintable() or char in "\t\r\n" for char in beginning)


def read_message(path: Path, message: AnyMessage, what: str, *, kind: str, remedy: str) -> AnyMessage:
    """Reads a file into a message, which is returned; for what holds few numbers. Arguments are those of `decoding`.

    Raises:
        SnapshotError: it cannot be read, or is damaged.
    """
    with decoding(path, what, kind=kind, remedy=remedy) as content:
        message.ParseFromString(content)
    return message


def starts_as_hdf5(path: Path) -> bool:
    """Whether a file is an HDF5 file, by its first bytes."""
    with path.open("rb") as file:
        return file.read(len(HDF5_SIGNATURE)) == HDF5_SIGNATURE


def is_hdf5(path: Path, what: str) -> bool:
    """Whether a file is an HDF5 file, by its first bytes, or should be one, by its suffix.

    Raises:
        SnapshotError: it cannot be read.
    """
    try:
        return starts_as_hdf5(path) or path.suffix == HDF5_SUFFIX
    except OSError as error:
        raise cannot_read(path, what, error) from error


def cannot_read(path: Path, what: str, error: OSError) -> SnapshotError:
    """The error for a file that the system does not let us read."""
    return SnapshotError(f"cannot read the {what} '{path}': {error.strerror or error}", remedy="check the path")
