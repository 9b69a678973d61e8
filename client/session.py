"""One instance of a Python layer, at the level of blobs: what an engine drives."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

from farlayer.blobs.blob import Blob
from farlayer.blobs.segment import Allocator
from farlayer.client.carrier import Carrier
from farlayer.client.exchange import Exchange
from farlayer.client.options import ClientOptions
from farlayer.protos.errors import FarlayerError, LayerError, LayerLoadError, ProtocolError, ValueCrossingError
from farlayer.protos.layer_service_pb2 import (
    Backward,
    Forward,
    Invoke,
    LayerReply,
    LayerRequest,
    Phase,
    Reshape,
    Setup,
    State,
)
from farlayer.protos.values import from_wire as value_from_wire
from farlayer.protos.values import to_wire as value_to_wire
from farlayer.protos.wire_errors import from_wire as error_from_wire
from farlayer.worker.service import checked_size

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_SURVIVABLE = (LayerError, LayerLoadError, ValueCrossingError)
"""Errors after which the instance goes on: user code raised, and its worker told so in order."""


@dataclass(frozen=True)
class LayerSpec:
    """Which Python layer to run.

    Attributes:
        name: the layer's name in its net.
        module: python_param.module.
        layer: python_param.layer, the class.
        param_str: python_param.param_str.
        phase: "TRAIN" or "TEST".
    """

    name: str
    module: str
    layer: str
    param_str: str = ""
    phase: str = "TRAIN"


@dataclass(frozen=True)
class SessionReport:
    """Where an instance runs, and what it did so far.

    Attributes:
        layer, phase, type: which instance; type is "module.Class".
        worker: the worker's name at its server; "" for a layer in this process.
        pid: of the process that holds it.
        server: address of the server; "" for a layer in this process.
        carrier: "mailbox", "grpc" or "in-process".
        transport: "shared", "streamed" or "in place".
        reason: why these two.
        calls: forward, backward and other calls after setup.
        call_seconds: time that they took, as the caller sees it.
        user_seconds: the part of it that user code took.
        bytes_moved: bytes copied or sent; shared memory moves none.
    """

    layer: str
    phase: str
    type: str
    worker: str
    pid: int
    server: str
    carrier: str
    transport: str
    reason: str
    calls: int
    call_seconds: float
    user_seconds: float
    bytes_moved: int


class Connector(Protocol):
    """Makes the way of one instance to where it runs."""

    @property
    def server(self) -> str:
        """Address, empty for this process."""

    @property
    def carrier(self) -> str:
        """One of "mailbox", "grpc", "in-process"."""

    @property
    def transport(self) -> str:
        """One of "shared", "streamed", "in place"."""

    @property
    def reason(self) -> str:
        """Why these."""

    @property
    def allocator(self) -> Allocator:
        """What blobs should be allocated with, so that they need not be copied."""

    def attach(self, setup: Setup) -> Carrier:
        """Makes the carrier, and enters into Setup what the other end must know."""

    def exchange(self, blobs: Sequence[Blob]) -> Exchange:
        """Makes what moves the blobs."""


class LayerSession:
    """Runs one layer instance, wherever it is. Made by a pool; nothing runs before `setup`.

    Blobs are the caller's: they are read before each call and hold its results after it. The same objects serve for
    the life of the session. Calls are in order, one at a time; the `_async` forms return at once, and their results
    are in the blobs when the future is done.

    After a LayerError the session goes on. After any other error it is closed.

    Raises (all calls):
        LayerError: user code raised; also an instance of the type that it raised.
        WorkerDiedError: the process that held the layer ended.
        DeadlineError: the call took longer than options.timeout_s.
        WorkerUnavailableError: the server cannot be reached; nothing was executed.
    """

    def __init__(self, spec: LayerSpec, connector: Connector, options: ClientOptions, worker: str) -> None:
        self.spec = spec
        self._connector = connector
        self._options = options
        self._worker_slot = worker
        self._carrier: Carrier | None = None
        self._exchange: Exchange | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._own_thread = 0
        self._lock = threading.Lock()
        self._sequence = 0
        self._broken: FarlayerError | None = None
        self._closed = False
        self._worker = ""
        self._pid = 0
        self._calls = 0
        self._call_seconds = 0.0
        self._user_seconds = 0.0

    # Calls

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Makes the instance and runs the user's setup. Reshape is the caller's next step.

        Args:
            bottom, top: the layer's blobs, from here on; a blob may be in both (in place).

        Raises:
            LayerLoadError: no such module or class, or no caffe.Layer. Else see the class.
        """
        self._in_order(lambda: self._set_up(bottom, top))

    def reshape(self) -> None:
        """Runs the user's reshape."""
        self._in_order(self._reshape)

    def forward(self) -> None:
        """Caffe's whole Forward, in one round trip: the user's reshape, then forward."""
        self._in_order(self._forward)

    def backward(self, propagate_down: Sequence[bool]) -> None:
        """Runs the user's backward.

        Args:
            propagate_down: for each bottom, whether its diff is wanted.
        """
        flags = list(propagate_down)
        self._in_order(lambda: self._backward(flags))

    def invoke(self, method: str, *args: object, **kwargs: object) -> object:
        """Calls a method of the user's object. Arguments and result are plain values: see farlayer.protos.values."""
        return self._in_order(lambda: self._invoke(method, args, kwargs))

    def exchange_state(self, assign: dict[str, object], read: Sequence[str]) -> dict[str, object]:
        """Sets attributes of the user's object to plain values, then reads some. Dots reach into attributes."""
        return self._in_order(lambda: self._state(assign, read))

    def setup_async(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> Future[None]:
        """`setup`, without waiting."""
        return self.run_async(lambda: self._set_up(bottom, top))

    def reshape_async(self) -> Future[None]:
        """`reshape`, without waiting."""
        return self.run_async(self._reshape)

    def forward_async(self) -> Future[None]:
        """`forward`, without waiting."""
        return self.run_async(self._forward)

    def backward_async(self, propagate_down: Sequence[bool]) -> Future[None]:
        """`backward`, without waiting."""
        flags = list(propagate_down)
        return self.run_async(lambda: self._backward(flags))

    @property
    def params(self) -> list[Blob]:
        """The blobs that the layer added so far, in its order."""
        return self._exchange.params if self._exchange is not None else []

    @property
    def is_set_up(self) -> bool:
        """Whether setup was called."""
        return self._carrier is not None

    @property
    def is_closed(self) -> bool:
        """Whether close was called."""
        return self._closed

    # The end

    def close(self) -> None:
        """Releases the instance. Its blobs stay valid. Idempotent."""
        self._closed = True
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            if self._carrier is not None and self._lock.locked():
                self._carrier.abort()  # a call that nobody waits for any more
            self._executor.shutdown()
        if self._carrier is not None:
            self._carrier.close()
        self._broken = self._broken or ProtocolError(f"layer '{self.spec.name}': its session was closed")

    def report(self) -> SessionReport:
        """Where the instance runs, and what it did so far."""
        return SessionReport(
            layer=self.spec.name,
            phase=self.spec.phase,
            type=f"{self.spec.module}.{self.spec.layer}",
            worker=self._worker,
            pid=self._pid,
            server=self._connector.server,
            carrier=self._connector.carrier,
            transport=self._connector.transport,
            reason=self._connector.reason,
            calls=self._calls,
            call_seconds=self._call_seconds,
            user_seconds=self._user_seconds,
            bytes_moved=self._exchange.bytes_moved if self._exchange is not None else 0,
        )

    # Requests

    def _set_up(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if self._carrier is not None:
            raise ProtocolError(f"layer '{self.spec.name}' was set up before", layer=self.spec.name)
        table: dict[int, Blob] = {id(blob): blob for blob in (*bottom, *top)}
        index = {key: position for position, key in enumerate(table)}
        setup = Setup(
            layer=self.spec.name,
            module=self.spec.module,
            type=self.spec.layer,
            param_str=self.spec.param_str,
            phase=Phase.Value(self.spec.phase),
            bottom=[index[id(blob)] for blob in bottom],
            top=[index[id(blob)] for blob in top],
            worker=self._worker_slot,
        )
        checked_size(setup, self.spec.name)
        self._carrier = self._connector.attach(setup)
        self._exchange = self._connector.exchange(list(table.values()))
        reply = self._call(LayerRequest(setup=setup))
        self._worker, self._pid = reply.setup.worker, reply.setup.pid
        logger.info(
            "layer '%s' (%s.%s) runs in %s, pid %d, by %s, %s",
            self.spec.name, self.spec.module, self.spec.layer, self._worker or "this process", self._pid,
            self._connector.carrier, self._connector.transport,
        )  # fmt: skip

    def _reshape(self) -> None:
        self._timed_call(LayerRequest(reshape=Reshape()))

    def _forward(self) -> None:
        self._timed_call(LayerRequest(forward=Forward()))

    def _backward(self, flags: list[bool]) -> None:
        self._timed_call(LayerRequest(backward=Backward(propagate_down=flags)))

    def _invoke(self, method: str, args: Sequence[object], kwargs: dict[str, object]) -> object:
        request = Invoke(
            method=method,
            args=[value_to_wire(value) for value in args],
            kwargs={name: value_to_wire(value) for name, value in kwargs.items()},
        )
        checked_size(request, self.spec.name)
        return value_from_wire(self._timed_call(LayerRequest(invoke=request)).value)

    def _state(self, assign: dict[str, object], read: Sequence[str]) -> dict[str, object]:
        request = State(set={name: value_to_wire(value) for name, value in assign.items()}, get=list(read))
        checked_size(request, self.spec.name)
        found = value_from_wire(self._timed_call(LayerRequest(state=request)).value)
        if not isinstance(found, dict):
            raise ProtocolError(f"layer '{self.spec.name}': the worker answered State with a {type(found).__name__}")
        return found

    def _timed_call(self, request: LayerRequest) -> LayerReply:
        started = time.perf_counter()
        reply = self._call(request)
        self._call_seconds += time.perf_counter() - started
        self._user_seconds += reply.user_seconds
        self._calls += 1
        return reply

    def _call(self, request: LayerRequest) -> LayerReply:
        """One round trip, with the blobs brought up to date at both ends."""
        with self._lock:
            if self._broken is not None:
                raise self._broken
            if self._carrier is None or self._exchange is None:
                raise ProtocolError(f"layer '{self.spec.name}' was not set up", remedy="call setup first")
            try:
                self._sequence += 1
                request.sequence = self._sequence
                answer = self._carrier.call(self._exchange.pack(request), timeout_s=self._options.timeout_s)
                self._exchange.unpack(answer)
                if answer.reply.HasField("error"):
                    raise error_from_wire(answer.reply.error)
            except _SURVIVABLE:
                raise
            except BaseException as error:
                self._break(error)
                raise
            return answer.reply

    def _break(self, error: BaseException) -> None:
        """Closes the session after an error that leaves the two ends apart."""
        if isinstance(error, FarlayerError):
            error.layer = error.layer or self.spec.name
            self._broken = error
        else:
            self._broken = ProtocolError(
                f"layer '{self.spec.name}': its session ended with {type(error).__name__} in the middle of a call",
                remedy="make another layer",
            )
        if self._carrier is not None:
            self._carrier.close()

    # Order

    def run_async(self, work: Callable[[], Result]) -> Future[Result]:
        """Has `work`, which may call this session, run in its turn, on the session's own thread."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, f"farlayer-{self.spec.name}")
        return self._executor.submit(self._on_own_thread, work)

    def _on_own_thread(self, work: Callable[[], Result]) -> Result:
        self._own_thread = threading.get_ident()
        return work()

    def _in_order(self, call: Callable[[], Result]) -> Result:
        """Runs a call now, or behind those that wait."""
        if self._executor is None or self._own_thread == threading.get_ident():
            return call()
        return self.run_async(call).result()
