"""Reads nets and solvers written as text; what is wrong with a file is said with its line, column and remedy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from farlayer.engine.prototxt_diagnosis import Diagnosis, Place, comment_spans, diagnose, place_of
from farlayer.engine.upgrade import upgrade_net, upgrade_snapshot_prefix
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import PrototxtError

__all__ = ["parse", "read_net", "read_solver", "to_text"]

AnyMessage = TypeVar("AnyMessage", bound=Message)

_BINARY_REMEDY = "give the net's .prototxt; .caffemodel and .solverstate files are given by --weights and --snapshot"


def read_net(path: str | os.PathLike[str]) -> caffe_pb2.NetParameter:
    """Reads a net; one in an older format is upgraded.

    Raises:
        PrototxtError: no such file, not a text, or not a net: with line and column.
        NetError: something old in it has no present form.
    """
    net = _read(path, caffe_pb2.NetParameter())
    upgrade_net(net, str(path))
    return net


def read_solver(path: str | os.PathLike[str]) -> caffe_pb2.SolverParameter:
    """Reads a solver; files that it names are not read.

    Nets inside it are upgraded, and a missing snapshot_prefix is made from the file's name.

    Raises:
        PrototxtError: no such file, not a text, or not a solver: with line and column.
        NetError: something old in a net inside it has no present form.
    """
    solver = _read(path, caffe_pb2.SolverParameter())
    for field in ("net_param", "train_net_param"):
        if solver.HasField(field):
            upgrade_net(getattr(solver, field), f"{field} of {path}")
    for net in solver.test_net_param:
        upgrade_net(net, f"test_net_param of {path}")
    upgrade_snapshot_prefix(solver, Path(path))
    return solver


def parse(text: str, message: AnyMessage, path: str = "<text>") -> AnyMessage:
    """Parses text into a message.

    Args:
        text: in protobuf's text format, any number of fields.
        message: cleared, then filled; its contents are undefined where parsing fails.
        path: what errors call the text.

    Returns:
        The message.

    Raises:
        PrototxtError: with line and column, except where a required field is missing.
    """
    message.Clear()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        place = Place(error.GetLine() or 0, error.GetColumn() or 0)
        diagnosis = diagnose(str(error), text, place, message.DESCRIPTOR.name)
        raise _error(diagnosis, path, place) from error
    missing: list[str] = message.FindInitializationErrors()  # type: ignore[attr-defined]  # the stubs lack it
    if missing:
        raise PrototxtError(
            f"required and missing: {', '.join(missing)}", path=path, remedy=f"add it, as in {missing[0]}: ..."
        )
    return message


def to_text(message: Message) -> str:
    """Writes a message as text that `parse` reads."""
    return text_format.MessageToString(message)


def _read(path: str | os.PathLike[str], message: AnyMessage) -> AnyMessage:
    name = os.fspath(path)
    parse(_read_text(Path(path)), message, name)
    if not message.ListFields():
        raise PrototxtError(
            f"the file holds no field of a {message.DESCRIPTOR.name}", path=name, remedy="is it the right file?"
        )
    return message


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        where = "" if path.is_absolute() else f"; it is looked for in {Path.cwd()}"
        raise PrototxtError("there is no such file", path=str(path), remedy=f"correct the path{where}") from error
    except IsADirectoryError as error:
        raise PrototxtError("this is a folder", path=str(path), remedy="give the file inside it") from error
    except OSError as error:
        raise PrototxtError(f"cannot be read: {error.strerror}", path=str(path), remedy="check the file") from error
    if b"\0" in content:
        raise PrototxtError("this is a binary file, not a text", path=str(path), remedy=_BINARY_REMEDY)
    return _decode(content, str(path))


def _decode(content: bytes, path: str) -> str:
    """Decodes a file's bytes. Bytes that are not UTF-8 are accepted in comments, as Caffe accepts them."""
    text = content.decode("utf-8-sig", "surrogateescape")
    stray = [offset for offset, character in enumerate(text) if "\udc80" <= character <= "\udcff"]
    if not stray:
        return text
    in_comments = {offset for start, end in comment_spans(text) for offset in range(start, end)}
    for offset in stray:
        if offset not in in_comments:
            diagnosis = Diagnosis(
                f"byte 0x{ord(text[offset]) - 0xDC00:02x} is not UTF-8", f"save the file as UTF-8; or, {_BINARY_REMEDY}"
            )
            raise _error(diagnosis, path, place_of(text, offset))
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _error(diagnosis: Diagnosis, path: str, place: Place) -> PrototxtError:
    return PrototxtError(diagnosis.problem, path=path, line=place.line, column=place.column, remedy=diagnosis.remedy)
