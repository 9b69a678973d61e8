"""One layer instance as the server sees it: its worker, its relay, and its last reply."""

from __future__ import annotations

import logging
import secrets
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from farlayer.blobs.mailbox import MailboxClosedError
from farlayer.protos.errors import DeadlineError, FarlayerError, ProtocolError, WorkerDiedError
from farlayer.protos.layer_service_pb2 import SHARED, LayerReply, LayerRequest, Setup
from farlayer.protos.protocol import LONGEST_TIMEOUT_S
from farlayer.protos.wire_errors import to_wire
from farlayer.server.broker import Broker
from farlayer.server.relay import Relay, SharedRelay, StreamedRelay
from farlayer.server.supervisor import Supervisor, Worker

logger = logging.getLogger(__name__)

_BURIAL_S = 2.0
"""How long to wait for the cause of a death after the mailbox ended."""
_RENDEZVOUS_S = 10.0
DEFAULT_TIMEOUT_S = 600.0
"""For requests that name no deadline."""


@dataclass
class Answer:
    """A reply, and the contents that follow it as chunks."""

    reply: LayerReply
    contents: list[memoryview] = field(default_factory=list)


class Attachment:
    """Runs the requests of one instance in order, each once.

    Attributes:
        instance: its id.
        secret: who resumes it must know it.
        layer: its layer's name.
        type: "module.Class".
        phase: as in Setup.
        worker: who holds it; None before Setup.
        last_sequence: the last request that was finished.
    """

    def __init__(self, setup: Setup, supervisor: Supervisor, broker: Broker) -> None:
        self.instance = uuid.uuid4().hex
        self.secret = secrets.token_bytes(16)
        self.layer = setup.layer
        self.type = f"{setup.module}.{setup.type}"
        self.phase = setup.phase
        self.worker: Worker | None = None
        self.last_sequence = 0
        self.on_death: Callable[[LayerReply], None] = lambda news: None
        self._setup = setup
        self._supervisor = supervisor
        self._broker = broker
        self._relay: Relay | None = None
        self._handed_over = False
        self._last: LayerReply | None = None
        self._closed = False
        self._overdue = False
        self._lock = threading.Lock()  # held during a call
        self._state = threading.Lock()  # held for moments

    def answer(self, request: LayerRequest, chunks: Iterator[bytes]) -> Answer:
        """Runs a request, or repeats the answer where it was run before.

        Never raises for what is wrong with a request, a layer or a worker: that is in the reply.
        """
        contents = _contents(request, chunks)
        with self._lock:
            if request.sequence == self.last_sequence and self._last is not None:
                _skip(contents)
                return Answer(self._last, self._relay.repeat(self._last) if self._relay else [])
            if request.sequence != self.last_sequence + 1 and not self._handed_over:
                return self._refusal(
                    request,
                    ProtocolError(
                        f"request {request.sequence} came for layer '{self.layer}', expected {self.last_sequence + 1}"
                    ),
                )
            try:
                answer = self._run(request, contents)
            except ProtocolError as error:
                answer = self._refusal(request, error)  # what follows on the stream cannot be trusted to be contents
            except FarlayerError as error:
                _skip(contents)
                answer = self._refusal(request, error)
            self.last_sequence = request.sequence
            self._last = answer.reply
            return answer

    def _refusal(self, request: LayerRequest, error: FarlayerError) -> Answer:
        error.layer = error.layer or self.layer
        logger.info("layer '%s', request %d: %s", self.layer, request.sequence, error.message)
        return Answer(LayerReply(sequence=request.sequence, error=to_wire(error)))

    def _run(self, request: LayerRequest, chunks: Iterator[bytes]) -> Answer:
        call = request.WhichOneof("call")
        if not 0 <= request.timeout_s <= LONGEST_TIMEOUT_S:
            raise ProtocolError(f"timeout_s is {request.timeout_s}; expected 0 (the default) to {LONGEST_TIMEOUT_S:g}")
        timeout_s = request.timeout_s or DEFAULT_TIMEOUT_S
        if call == "setup":
            self._start(timeout_s)
        if self._relay is None:
            raise ProtocolError("the first request of an instance must be Setup")
        if call == "release" and request.release.overdue_call:
            raise self._end_stuck_worker(request.release.overdue_call, timeout_s)
        if call == "release" and self._handed_over:
            return Answer(LayerReply(sequence=request.sequence))
        try:
            reply, contents = self._relay.exchange(request, chunks, timeout_s)
        except MailboxClosedError as error:
            raise self._death(call or "") from error
        except DeadlineError as error:
            raise self._end_stuck_worker(call or "", timeout_s) from error
        if call == "setup" and not reply.HasField("error"):
            self._complete(reply)
        return Answer(reply, contents)

    def _start(self, timeout_s: float) -> None:
        if self._relay is not None:
            raise ProtocolError(f"Setup came twice for layer '{self.layer}'")
        setup = self._setup
        worker = self._supervisor.hold(setup.worker or self.instance, self.instance, self.layer, self._tell_of_death)
        with self._state:
            self.worker = worker
            if self._closed:
                self._supervisor.let_go(worker, self.instance)
                raise self._ended()
        channel = worker.open_channel(self.instance)
        relay: Relay
        if setup.transport == SHARED:
            try:
                side = self._broker.take(setup.rendezvous, min(timeout_s, _RENDEZVOUS_S))
            except FarlayerError:
                channel.close()
                raise
            relay = SharedRelay(channel, side)
        else:
            relay = StreamedRelay(channel)
        with self._state:
            self._relay = relay
            if self._closed:
                relay.close()
                raise self._ended()

    def _complete(self, reply: LayerReply) -> None:
        assert self.worker is not None
        reply.setup.instance = self.instance
        reply.setup.secret = self.secret
        reply.setup.worker = self.worker.name
        reply.setup.pid = self.worker.pid
        if self._setup.direct and isinstance(self._relay, SharedRelay):
            self._relay.hand_over(reply.sequence)
            self._handed_over = True
            reply.setup.direct = True

    # The end

    def close(self) -> None:
        """Ends the instance, also in mid-call: its mailbox is closed, and its worker ended if it holds no other."""
        with self._state:
            if self._closed:
                return
            self._closed = True
            relay, worker = self._relay, self.worker
        if relay is not None:
            relay.close()
        if worker is not None:
            self._supervisor.let_go(worker, self.instance)

    def _ended(self) -> ProtocolError:
        return ProtocolError(f"layer '{self.layer}': its instance was ended in the middle of a call", layer=self.layer)

    def _death(self, call: str) -> FarlayerError:
        if self._closed:
            return self._ended()
        assert self.worker is not None
        return self._with_layer(self.worker.death(_BURIAL_S), call)

    def _with_layer(self, cause: WorkerDiedError, call: str) -> WorkerDiedError:
        during = f" in {call}" if call else ""
        return WorkerDiedError(
            f"layer '{self.layer}' ({self.type}){during}: {cause.message}",
            signal=cause.signal,
            exit_code_of_worker=cause.exit_code_of_worker,
            log_lines=cause.log_lines,
            remedy=_remedy_of(cause),
            layer=self.layer,
        )

    def _end_stuck_worker(self, call: str, timeout_s: float) -> DeadlineError:
        assert self.worker is not None
        self._overdue = True
        self.worker.kill(f"layer '{self.layer}' took longer than {timeout_s:g} s in {call}", stacks=True)
        log = "\n".join(f"    {line}" for line in self.worker.log_tail())
        return DeadlineError(
            f"layer '{self.layer}' ({self.type}) did not finish {call} within {timeout_s:g} s; "
            f"its worker (pid {self.worker.pid}) was ended. Last lines of the worker:\n{log}",
            remedy="raise --timeout, or see in the stacks above where it hangs",
            layer=self.layer,
        )

    def _tell_of_death(self, cause: WorkerDiedError) -> None:
        if self._overdue:
            return  # the reply to the call that took too long tells more
        self.on_death(LayerReply(error=to_wire(self._with_layer(cause, ""))))


def _remedy_of(cause: WorkerDiedError) -> str:
    if "lack of memory" in cause.message:
        return "make the batch smaller, or run fewer workers at a time"
    if cause.log_lines:
        return "see the worker's last lines; the workers of other layers are not affected"
    return "the worker wrote nothing before its end: look for a kill, or an exit in native code that the layer calls"


def _contents(request: LayerRequest, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks that are due after a request, and no more."""
    due = sum(contents.size_bytes for contents in request.contents)
    while due > 0:
        chunk = next(chunks)
        due -= len(chunk)
        yield chunk


def _skip(contents: Iterator[bytes]) -> None:
    """Takes from the stream what follows a request that will not be run."""
    for _ in contents:
        pass
