"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from farlayer.protos.errors import SnapshotError

AnyMessage = TypeVar("AnyMessage", bound=Message)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file beside its final place and moves it there, so that no reader or crash sees half of it.

    Raises:
        SnapshotError: the folder is missing, not writable, or full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        room = "make sure that the folder exists, is writable and has room, or change snapshot_prefix"
        raise SnapshotError(
            f"cannot write '{path}': {error.strerror or error}",
            remedy="raise the limit on open files (ulimit -n)" if error.errno == errno.EMFILE else room,
        ) from error


def read_message(path: Path, message: AnyMessage, what: str, *, kind: str, remedy: str) -> AnyMessage:
    """Reads a file into a message.

    Args:
        path: the file.
        message: filled, and returned.
        what: what the file should be, for errors.
        kind: the suffix of such files.
        remedy: what to do where it is damaged.

    Raises:
        SnapshotError: it cannot be read, is damaged, or is HDF5, which this version does not read.
    """
    content = read_whole(path, what)
    try:
        message.ParseFromString(content)
    except DecodeError as error:
        raise SnapshotError(
            f"the {what} '{path}' is truncated or no {kind} ({len(content)} bytes)", remedy=remedy
        ) from error
    return message


def read_whole(path: Path, what: str) -> bytes:
    """Reads a file.

    Args:
        path: the file.
        what: what it should be, for the error.

    Raises:
        SnapshotError: it cannot be read, or is HDF5, which this version does not read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SnapshotError(
            f"cannot read the {what} '{path}': {error.strerror or error}", remedy="check the path"
        ) from error
    if content.startswith(b"\x89HDF\r\n\x1a\n") or path.suffix in {".h5", ".hdf5"}:
        raise SnapshotError(
            f"the {what} '{path}' is an HDF5 file, which this version does not read",
            remedy="use a file in snapshot_format: BINARYPROTO; HDF5 comes with a later version",
        )
    return content
