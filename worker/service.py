"""Answers the requests of one session: messages in, calls of user code, messages out."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import Callable, Iterator, Sequence, TypeVar

from google.protobuf.message import Message

from farlayer.blobs.blob import Blob
from farlayer.blobs.ledger import WORKER_IDS, BlobLedger
from farlayer.blobs.segment import Allocator, Segment
from farlayer.protos.errors import FarlayerError, LayerLoadError, ProtocolError, ValueCrossingError
from farlayer.protos.layer_service_pb2 import Error, LayerReply, LayerRequest, Setup
from farlayer.protos.values import from_wire, to_wire
from farlayer.protos.wire_errors import to_wire as error_to_wire
from farlayer.protos.wire_errors import user_error_to_wire
from farlayer.worker.instance import Instance
from farlayer.worker.layer import Phase
from farlayer.worker.loader import load_class

Sized = TypeVar("Sized", bound=Message)

_ARGUMENTS = {
    "setup": "bottom, top",
    "reshape": "bottom, top",
    "forward": "bottom, top",
    "backward": "top, propagate_down, bottom",
}
_OWN_FOLDER = os.path.dirname(os.path.abspath(__file__))
MAX_VALUE_BYTES = 60 * 1024 * 1024
"""Plain values of one call: below what a gRPC message holds. Larger things are blobs."""
MAX_BLOBS = 4096
"""Bottoms and tops of one layer: a bound against hostile messages."""


class _UserCodeError(Exception):
    """Carries what user code raised, as a message, up to the reply."""

    def __init__(self, wire: Error) -> None:
        super().__init__(wire.message)
        self.wire = wire


class LayerSessionService:
    """The worker's end of a session with one layer instance. Used by the worker's loop and in-process alike.

    Args:
        allocate: memory of tops and params that grow here.
    """

    def __init__(self, allocate: Allocator) -> None:
        self._allocate = allocate
        self._ledger: BlobLedger | None = None
        self._instance: Instance | None = None
        self._name = ""
        self._type = ""
        self._user_seconds = 0.0

    def answer(self, request: LayerRequest, new: Sequence[Segment]) -> tuple[LayerReply, list[Segment]]:
        """Runs one request.

        Args:
            new: memory of `request.new_segments`, in that order.

        Returns:
            The reply, and the memory of its new segments.

        Raises:
            ProtocolError: the request makes no sense; the session must be ended.
        """
        reply = LayerReply(sequence=request.sequence)
        self._user_seconds = 0.0
        try:
            if request.WhichOneof("call") == "setup":
                self._ledger = self._new_ledger(request.setup)
            self._known_ledger().read(request, new)
            self._run(request, reply)
        except _UserCodeError as error:
            reply.error.CopyFrom(error.wire)
        except ProtocolError:
            raise
        except FarlayerError as error:
            reply.error.CopyFrom(error_to_wire(error))
        reply.user_seconds = self._user_seconds
        self._enter_new_params()
        return reply, self._known_ledger().write(reply)

    def _known_ledger(self) -> BlobLedger:
        if self._ledger is None:
            raise ProtocolError("the first request of a session must be Setup")
        return self._ledger

    def _new_ledger(self, setup: Setup) -> BlobLedger:
        if self._ledger is not None:
            raise ProtocolError(f"Setup came twice for layer '{self._name}'")
        if setup.phase not in {int(phase) for phase in Phase}:
            raise ProtocolError(f"Setup names a phase {setup.phase}; there are {', '.join(map(repr, Phase))}")
        indices = set(setup.bottom) | set(setup.top)
        if indices != set(range(len(indices))) or len(indices) > MAX_BLOBS:
            raise ProtocolError("Setup must number its blobs from 0, without gaps")
        return BlobLedger([Blob(allocate=self._allocate) for _ in indices], WORKER_IDS, self._allocate)

    def _run(self, request: LayerRequest, reply: LayerReply) -> None:
        call = request.WhichOneof("call")
        run: Callable[[LayerRequest, LayerReply], None] | None = {
            "setup": self._setup,
            "reshape": self._reshape,
            "forward": self._forward,
            "backward": self._backward,
            "invoke": self._invoke,
            "state": self._state,
            "release": self._release,
        }.get(call or "")
        if run is None:
            raise ProtocolError(f"a worker cannot be asked for '{call}'")
        run(request, reply)

    # Calls

    def _setup(self, request: LayerRequest, reply: LayerReply) -> None:
        setup = request.setup
        self._name = setup.layer
        self._type = f"{setup.module}.{setup.type}"
        blobs = self._known_ledger().blobs
        with self._user_code("import"):
            kind = load_class(setup.module, setup.type, layer=setup.layer)
        with self._user_code("__init__"):
            self._instance = Instance.make(
                kind,
                [blobs[index] for index in setup.bottom],
                [blobs[index] for index in setup.top],
                layer_param=_layer_param(setup),
                param_str=setup.param_str,
                phase=Phase(setup.phase),
                allocate=self._allocate,
            )
        with self._user_code("setup"):
            self._instance.setup()
        reply.setup.pid = os.getpid()

    def _reshape(self, request: LayerRequest, reply: LayerReply) -> None:
        with self._user_code("reshape") as instance:
            instance.reshape()

    def _forward(self, request: LayerRequest, reply: LayerReply) -> None:
        self._reshape(request, reply)
        with self._user_code("forward") as instance:
            instance.forward()

    def _backward(self, request: LayerRequest, reply: LayerReply) -> None:
        with self._user_code("backward") as instance:
            instance.backward(request.backward.propagate_down)

    def _invoke(self, request: LayerRequest, reply: LayerReply) -> None:
        call = request.invoke
        args = [from_wire(value) for value in call.args]
        kwargs = {name: from_wire(value) for name, value in call.kwargs.items()}
        with self._user_code(call.method) as instance:
            result = instance.invoke(call.method, args, kwargs)
        reply.value.CopyFrom(checked_size(to_wire(result), self._name))

    def _state(self, request: LayerRequest, reply: LayerReply) -> None:
        assign = {name: from_wire(value) for name, value in request.state.set.items()}
        with self._user_code("attribute access") as instance:
            result = instance.exchange_state(assign, request.state.get)
        reply.value.CopyFrom(checked_size(to_wire(result), self._name))

    def _release(self, request: LayerRequest, reply: LayerReply) -> None:
        self._instance = None

    @contextmanager
    def _user_code(self, method: str) -> Iterator[Instance]:
        """Times user code, and turns what it raises into a message.

        KeyboardInterrupt passes: it is meant for the process, not for the layer.
        """
        if self._instance is None and method not in ("import", "__init__"):
            raise LayerLoadError(
                f"layer '{self._name}' ({self._type}) does not exist: its setup failed or it was released",
                remedy="see the error of its setup",
                layer=self._name,
            )
        started = time.perf_counter()
        try:
            yield self._instance  # type: ignore[misc]  # None only where the caller is about to make it
        except (LayerLoadError, KeyboardInterrupt):
            raise
        except BaseException as error:  # the boundary: user code may raise anything
            message = user_error_to_wire(
                error, layer=self._name, type_name=self._type, method=method, own_files=_OWN_FOLDER
            )
            if _is_of_missing_method(error, self._instance, method):
                message.traceback = ""  # it would show our own lines, and none of the user's
                message.remedy = f"write `def {method}(self, {_ARGUMENTS[method]}):` in the class"
            raise _UserCodeError(message) from error
        finally:
            self._user_seconds += time.perf_counter() - started

    def _enter_new_params(self) -> None:
        if self._instance is not None:
            ledger = self._known_ledger()
            for blob in self._instance.params[len(ledger.params) :]:  # a layer can only add them
                ledger.add_param(blob)


def _is_of_missing_method(error: BaseException, instance: Instance | None, method: str) -> bool:
    """Whether an error says that the user's class lacks the method that was to be called."""
    return (
        isinstance(error, AttributeError)
        and instance is not None
        and method in _ARGUMENTS
        and not hasattr(instance.layer, method)
    )


def checked_size(message: Sized, layer: str) -> Sized:
    """Returns a message of plain values.

    Raises:
        ValueCrossingError: it is too large for one.
    """
    if message.ByteSize() > MAX_VALUE_BYTES:
        raise ValueCrossingError(
            f"layer '{layer}': values of {message.ByteSize()} bytes are over the limit of {MAX_VALUE_BYTES} a call",
            remedy="pass large arrays as blobs, or in parts",
            layer=layer,
        )
    return message


def _layer_param(setup: Setup) -> object:
    """The LayerParameter that Caffe hands to the constructor."""
    from farlayer.protos import caffe_pb2  # late: its hundred messages are only needed here

    param = caffe_pb2.LayerParameter(name=setup.layer, type="Python")
    param.phase = setup.phase  # type: ignore[assignment]  # the two Phase enums have equal numbers
    param.python_param.module = setup.module
    param.python_param.layer = setup.type
    param.python_param.param_str = setup.param_str
    return param
