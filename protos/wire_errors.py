"""Errors as messages, and back: a user's exception keeps its type on its way between processes."""

from __future__ import annotations

import importlib
import sys
import traceback
from types import TracebackType

from farlayer.protos import errors
from farlayer.protos.errors import FarlayerError, LayerError, ValueCrossingError, WorkerDiedError
from farlayer.protos.layer_service_pb2 import Error
from farlayer.protos.values import from_wire as value_from_wire
from farlayer.protos.values import to_wire as value_to_wire

_KINDS: dict[str, type[FarlayerError]] = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, FarlayerError)
}
_combinations: dict[type[BaseException], type[LayerError]] = {}
_MAX_TEXT = 64 * 1024
"""Characters of a message or a traceback, and bytes of arguments: errors are for people."""
_IMPORT_SYSTEM = ("<frozen importlib", importlib.__file__)


def to_wire(error: FarlayerError) -> Error:
    """Puts an error of the tree into a message."""
    kind = next(name for name in (base.__name__ for base in type(error).__mro__) if name in _KINDS)
    message = Error(kind=kind, message=_valid(error.message), remedy=_valid(error.remedy), layer=error.layer)
    if isinstance(error, LayerError):
        message.exception_types.append(error.exception_type)
        message.traceback = _valid(error.remote_traceback)
        message.method = error.method
    if isinstance(error, WorkerDiedError):
        message.signal = error.signal
        message.exit_code = error.exit_code_of_worker
        message.log_lines.extend(error.log_lines)
    return message


def user_error_to_wire(error: BaseException, *, layer: str, type_name: str, method: str, own_files: str) -> Error:
    """Puts what user code raised into a message.

    Args:
        type_name: "module.Class" of the layer.
        method: which of its methods raised.
        own_files: folder of the frames above the user's, which are left out of the traceback.
    """
    frames = _below(error.__traceback__, own_files)
    if frames is None and not isinstance(error, SyntaxError):  # which names file and line itself
        frames = error.__traceback__
    text = "".join(traceback.format_exception(type(error), error, frames))
    summary = traceback.format_exception_only(type(error), error)[-1].strip()
    message = Error(
        kind="LayerError",
        message=_valid(f"layer '{layer}' ({type_name}) raised in {method}: {summary}"),
        layer=layer,
        traceback=_valid(text),
        method=method,
        exception_types=[_qualified(base) for base in type(error).__mro__ if issubclass(base, BaseException)],
    )
    try:
        args = [value_to_wire(argument) for argument in error.args]
    except ValueCrossingError:
        return message  # the type and the text cross all the same
    if sum(argument.ByteSize() for argument in args) <= _MAX_TEXT:
        message.exception_args.extend(args)
    return message


def _valid(text: str) -> str:
    """Text that a message can hold: lone surrogates (of file names that are no UTF-8) escaped, and not endless."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    if len(text) > _MAX_TEXT:
        half = _MAX_TEXT // 2
        text = f"{text[:half]}\n[... {len(text) - 2 * half} characters ...]\n{text[-half:]}"
    return text


def from_wire(message: Error) -> FarlayerError:
    """Makes the error that a message stands for, to be raised by the caller."""
    if message.kind == "LayerError":
        return _layer_error(message)
    if message.kind == "WorkerDiedError":
        return WorkerDiedError(
            message.message,
            signal=message.signal,
            exit_code_of_worker=message.exit_code,
            log_lines=tuple(message.log_lines),
            remedy=message.remedy,
            layer=message.layer,
        )
    error = _KINDS.get(message.kind, FarlayerError)(message.message, remedy=message.remedy, layer=message.layer)
    error.message = message.message  # as it came: a PrototxtError would put a place before it once more
    return error


def _layer_error(message: Error) -> LayerError:
    original = next((known for known in map(_known_type, message.exception_types) if known is not None), Exception)
    error = _combined(original)(
        message.message,
        exception_type=message.exception_types[0] if message.exception_types else "",
        remote_traceback=message.traceback,
        method=message.method,
        remedy=message.remedy,
        layer=message.layer,
    )
    if message.exception_args:
        args = tuple(value_from_wire(argument) for argument in message.exception_args)
        if original.__module__ == "builtins":
            _fill_attributes(error, original, args)
        error.args = args
    return error


def _fill_attributes(error: LayerError, original: type[BaseException], args: tuple[object, ...]) -> None:
    """Sets what a built-in exception makes of its arguments: errno, the value of StopIteration, ..."""
    try:
        original.__init__(error, *args)
    except (TypeError, ValueError):
        pass  # user code gave it other arguments afterwards


def _combined(original: type[BaseException]) -> type[LayerError]:
    """A class that is both LayerError and the type that user code raised; the same one each time."""
    if original is Exception or not issubclass(original, Exception):
        return LayerError
    if original not in _combinations:
        try:
            combined: type[LayerError] = type(
                original.__name__, (LayerError, original), {"__module__": original.__module__}
            )
            combined("probe")
        except Exception:  # noqa: BLE001  # a type of an incompatible layout, or with code of its own that objects
            combined = LayerError
        _combinations[original] = combined
    return _combinations[original]


def _known_type(qualified: str) -> type[BaseException] | None:
    """The exception class of that name, if its module is loaded here. Loads nothing: the name came from outside."""
    module_name, _, name = qualified.rpartition(".")
    found: object = sys.modules.get(module_name)
    found = getattr(found, name, None)
    return found if isinstance(found, type) and issubclass(found, BaseException) else None


def _qualified(kind: type[BaseException]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _below(frames: TracebackType | None, own_files: str) -> TracebackType | None:
    """Leaves out the frames of the worker itself and of the import system. None where there are no others."""
    start = frames
    while start is not None and start.tb_frame.f_code.co_filename.startswith((own_files, *_IMPORT_SYSTEM)):
        start = start.tb_next
    return start
