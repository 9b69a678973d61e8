"""The error tree of farlayer, and what each class is on the wire.

    FarlayerError
    |-- InputError                 a file or an option is wrong; nothing ran (exit code 2)
    |   |-- PrototxtError          text that does not parse: file, line, column
    |   |-- NetError               a net that cannot be built: layer, expected, actual
    |   |-- PlacementError         a placement file or a worker address that makes no sense
    |   `-- SnapshotError          weights or solver state that do not fit or are damaged
    |-- LayerLoadError             module or class of a Python layer not found, or not a caffe.Layer
    |-- LayerError                 user code raised; also an instance of the type it raised
    |-- NotFiniteError             a loss became NaN or infinite
    |-- BlobError                  a blob asked for what its shape or its memory cannot give
    |   `-- ShapeError           a shape that no blob can have (exit code 2)
    |-- ValueCrossingError         a value that cannot cross between processes
    |-- WorkerError                the worker or its server failed, not the layer's code
    |   |-- WorkerUnavailableError nothing was executed; safe to retry
    |   |-- WorkerDiedError        the worker ended in the middle: signal or exit code, last log lines
    |   `-- DeadlineError          no answer in time; the outcome is unknown
    `-- ProtocolError              a message that breaks the protocol; the session is ended
        |-- VersionError           the two ends share no protocol version
        `-- TransportError         a transport that was forced cannot be had

Every class names its wire status: the gRPC status code that stands for it where a call ends with a status.
Inside an Attach stream and in a mailbox, errors travel as `layer_service.proto` Error messages
(see `farlayer.protos.wire_errors`).
"""

from __future__ import annotations

from typing import ClassVar


class FarlayerError(Exception):
    """Base of everything that farlayer raises on purpose.

    Attributes:
        remedy: what the user can do about it; empty where nothing better than the message is known.
        layer: name of the layer concerned; empty where none is.
    """

    wire_status: ClassVar[str] = "UNKNOWN"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, remedy: str = "", layer: str = "") -> None:
        # Not super(): where the class is also a user's exception type, that one's __init__ has demands of its own.
        Exception.__init__(self, message)
        self.message = message
        self.remedy = remedy
        self.layer = layer

    def __str__(self) -> str:
        return f"{self.message}\n  Remedy: {self.remedy}" if self.remedy else self.message


class InputError(FarlayerError):
    """A file or an option is wrong. Nothing was run."""

    wire_status = "INVALID_ARGUMENT"
    exit_code = 2


class PrototxtError(InputError):
    """Text that does not parse as the message it should be.

    Attributes:
        path: the file, or a description of the text where it came from none.
        line: 1-based line; 0 where unknown.
        column: 1-based column; 0 where unknown.
    """

    def __init__(
        self, message: str, *, path: str = "<text>", line: int = 0, column: int = 0, remedy: str = "", layer: str = ""
    ) -> None:
        where = f"{path}:{line}:{column}" if line else path
        super().__init__(f"{where}: {message}", remedy=remedy, layer=layer)
        self.path = path
        self.line = line
        self.column = column


class NetError(InputError):
    """A net that cannot be built or run as it is written."""


class PlacementError(InputError):
    """A placement file, or an address of a worker, that makes no sense."""


class SnapshotError(InputError):
    """Weights or solver state that are damaged, or do not fit the net."""


class LayerLoadError(FarlayerError):
    """Module or class of a Python layer not found, or not derived from `caffe.Layer`."""

    wire_status = "NOT_FOUND"


class LayerError(FarlayerError):
    """User code raised.

    The error that callers see is also an instance of the type that was raised, where the caller's process knows it,
    so that `except RuntimeError` catches a RuntimeError of a layer in another process.

    Attributes:
        exception_type: qualified name of the type that user code raised, as "builtins.RuntimeError".
        remote_traceback: the traceback as the worker formatted it.
        method: "setup", "reshape", "forward", "backward", ...
    """

    wire_status = "ABORTED"

    def __init__(
        self,
        message: str,
        *,
        exception_type: str = "",
        remote_traceback: str = "",
        method: str = "",
        remedy: str = "",
        layer: str = "",
    ) -> None:
        FarlayerError.__init__(self, message, remedy=remedy, layer=layer)
        self.exception_type = exception_type
        self.remote_traceback = remote_traceback
        self.method = method

    def __str__(self) -> str:
        text = FarlayerError.__str__(self)
        return f"{text}\n\n{self.remote_traceback.rstrip()}" if self.remote_traceback else text


class NotFiniteError(FarlayerError):
    """A loss became NaN or infinite."""

    wire_status = "OUT_OF_RANGE"


class BlobError(FarlayerError):
    """A blob was asked for what its shape or its memory cannot give."""

    wire_status = "INVALID_ARGUMENT"


class ShapeError(BlobError, InputError):
    """A shape that no blob can have: whoever asks for it is wrong, not the machine."""


class ValueCrossingError(FarlayerError):
    """A value that cannot cross between processes."""

    wire_status = "INVALID_ARGUMENT"


class WorkerError(FarlayerError):
    """The worker or its server failed, not the layer's code."""

    wire_status = "INTERNAL"


class WorkerUnavailableError(WorkerError):
    """Nothing was executed; safe to retry."""

    wire_status = "UNAVAILABLE"


class WorkerDiedError(WorkerError):
    """The worker ended in the middle of a call, or between calls.

    Attributes:
        signal: number of the signal that ended it, 0 where it was none.
        exit_code_of_worker: its exit code where no signal ended it.
        log_lines: the last lines that it wrote.
    """

    wire_status = "DATA_LOSS"

    def __init__(
        self,
        message: str,
        *,
        signal: int = 0,
        exit_code_of_worker: int = 0,
        log_lines: tuple[str, ...] = (),
        remedy: str = "",
        layer: str = "",
    ) -> None:
        super().__init__(message, remedy=remedy, layer=layer)
        self.signal = signal
        self.exit_code_of_worker = exit_code_of_worker
        self.log_lines = log_lines

    def __str__(self) -> str:
        text = super().__str__()
        if not self.log_lines:
            return text
        return text + "\n  Last lines of the worker:\n" + "\n".join(f"    {line}" for line in self.log_lines)


class DeadlineError(WorkerError):
    """No answer in time. The outcome of the call is unknown."""

    wire_status = "DEADLINE_EXCEEDED"


class ProtocolError(FarlayerError):
    """A message that breaks the protocol. The session that it came on is ended."""

    wire_status = "FAILED_PRECONDITION"


class VersionError(ProtocolError):
    """The two ends share no protocol version."""


class TransportError(ProtocolError):
    """A carrier or transport that was forced cannot be had."""
