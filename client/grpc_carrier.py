"""The carrier that always works: an Attach stream to a server, resumed when its connection breaks."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator

import grpc

from farlayer.blobs.chunks import split
from farlayer.blobs.mailbox import Mailbox, MailboxClosedError
from farlayer.client.carrier import ABORTED, Parcel, Return
from farlayer.client.descriptor_line import DescriptorLine
from farlayer.protos.errors import DeadlineError, FarlayerError, ProtocolError, WorkerDiedError, WorkerUnavailableError
from farlayer.protos.layer_service_pb2 import (
    Chunk,
    DescribeRequest,
    LayerReply,
    LayerRequest,
    Release,
    Resume,
    SetupResult,
)
from farlayer.protos.layer_service_pb2_grpc import LayerServiceStub
from farlayer.protos.wire_errors import from_wire

logger = logging.getLogger(__name__)

_WINDOW = 8
"""Replies that wait for the caller; with chunks of 1 MiB this bounds memory."""
_RETRY_S = 0.2
_CONNECT_S = 1.0
_RELEASE_S = 2.0
_GRACE_S = 10.0
"""The server keeps a request's deadline and answers with its outcome; only beyond this do we give up on the server."""


class GrpcCarrier:
    """One Attach stream.

    Args:
        stub: of the server.
        address: of the server, for messages.
        resume_window_s: how long the server keeps an instance whose stream broke.
        line: where descriptors travel, for shared memory; None for streamed contents. Owned by the carrier.
    """

    def __init__(
        self, stub: LayerServiceStub, address: str, resume_window_s: float, line: DescriptorLine | None
    ) -> None:
        self._stub = stub
        self._address = address
        self._resume_window_s = resume_window_s
        self._line = line
        self._replies: queue.Queue[LayerReply | FarlayerError] = queue.Queue(_WINDOW)
        self._setup: SetupResult | None = None
        self._in_flight: Parcel | None = None
        self._delivered = 0
        self._skip = 0
        self._turn = threading.Lock()
        self._sequence = 0
        self._released = False
        self._closed = threading.Event()
        self._stream: _Stream | None = None
        self._reader: threading.Thread | None = None
        self.on_news: Callable[[FarlayerError], None] = lambda error: None

    # Calls

    def call(self, parcel: Parcel, *, timeout_s: float) -> Return:
        """See Carrier."""
        parcel.request.timeout_s = timeout_s
        self._sequence = parcel.request.sequence
        if self._line is not None and parcel.new:
            self._send_descriptors(self._line, parcel)
        with self._turn:
            self._delivered = 0
            self._in_flight = parcel
            if self._stream is None:
                self._stream = _Stream(self._stub)
                self._reader = threading.Thread(target=self._read, name="farlayer-replies", daemon=True)
                self._reader.start()
            self._stream.send(parcel)
        reply = self._receive(timeout_s + _GRACE_S)
        if reply.sequence != parcel.request.sequence:
            raise ProtocolError(f"the server answered request {reply.sequence}, not {parcel.request.sequence}")
        if reply.HasField("setup"):
            self._setup = reply.setup
        new = []
        if self._line is not None and reply.new_segments:
            new = self._line.receive(reply, timeout_s)
        if not any(contents.size_bytes for contents in reply.contents):
            self._in_flight = None
        return Return(reply, new, self._chunks(reply, timeout_s))

    def _send_descriptors(self, line: DescriptorLine, parcel: Parcel) -> None:
        try:
            line.send(parcel.request.sequence, parcel.descriptors)
        except MailboxClosedError as error:
            raise WorkerUnavailableError(
                f"the broker of the server at {self._address} is gone", remedy="is the server still running?"
            ) from error

    def receive_mailbox(self, sequence: int, timeout_s: float) -> Mailbox:
        """The mailbox to the worker that Setup asked for and the reply promised."""
        if self._line is None:
            raise ProtocolError("a mailbox was promised, but there is no way for descriptors")
        return self._line.receive_mailbox(sequence, timeout_s)

    def _receive(self, timeout_s: float) -> LayerReply:
        try:
            found = self._replies.get(timeout=timeout_s)
        except queue.Empty:
            raise DeadlineError(
                f"the server at {self._address} did not answer within {timeout_s:g} s", remedy="is its host overloaded?"
            ) from None
        if isinstance(found, FarlayerError):
            self._replies.put(found)  # for whoever asks next
            raise found
        return found

    def _chunks(self, reply: LayerReply, timeout_s: float) -> Iterator[bytes]:
        due = sum(contents.size_bytes for contents in reply.contents)
        while due > 0:
            piece = self._receive(timeout_s).chunk.bytes
            due -= len(piece)
            if due == 0:
                self._in_flight = None
            yield piece

    # The reader's thread

    def _read(self) -> None:
        """Delivers what comes, and resumes the stream when it breaks."""
        while self._stream is not None:
            try:
                for reply in self._stream:
                    if reply.HasField("resume"):
                        continue
                    if reply.sequence == 0:
                        error = from_wire(reply.error)
                        self.on_news(error)
                        self._deliver(error)
                        return
                    if self._skip > 0:
                        self._skip -= 1  # a part of the reply that had come before the stream broke
                        continue
                    self._delivered += 1
                    self._deliver(reply)
                broken: FarlayerError = WorkerUnavailableError(f"the server at {self._address} ended the stream")
            except grpc.RpcError as error:
                broken = from_rpc_error(error, self._address)
            if self._closed.is_set() or self._released:
                self._deliver(broken)
                return
            refusal = self._resume(broken)
            if refusal is not None:
                lost = self._lost(refusal)
                self.on_news(lost)
                self._deliver(lost)
                return

    def _deliver(self, found: LayerReply | FarlayerError) -> None:
        while not self._closed.is_set():
            try:
                self._replies.put(found, timeout=1.0)
                return
            except queue.Full:
                continue  # the caller is slow, or gone: then close() is next

    def _resume(self, broken: FarlayerError) -> FarlayerError | None:
        """Takes the instance up again on a new stream. Returns why that failed, or None."""
        if self._setup is None or not isinstance(broken, WorkerUnavailableError):
            return broken
        logger.warning("the connection to %s broke (%s); resuming", self._address, broken.message)
        deadline = time.monotonic() + self._resume_window_s
        while time.monotonic() < deadline and not self._closed.wait(_RETRY_S):
            if not self._reachable():
                continue
            stream = _Stream(self._stub)
            stream.send(Parcel(LayerRequest(resume=Resume(instance=self._setup.instance, secret=self._setup.secret))))
            try:
                first = next(iter(stream))
            except (grpc.RpcError, StopIteration):
                stream.close()
                continue  # not reachable yet
            if first.HasField("resume"):
                self._go_on_with(stream)
                logger.warning("the connection to %s was resumed", self._address)
                return None
            stream.close()
            refusal = from_wire(first.error)
            if not isinstance(refusal, WorkerUnavailableError):
                return refusal  # the server does not know the instance any more
        return broken

    def _reachable(self) -> bool:
        """Waits a moment for the channel to connect: older gRPC connects only while some call waits for it to."""
        try:
            self._stub.Describe(DescribeRequest(), timeout=_CONNECT_S, wait_for_ready=True)
        except grpc.RpcError as error:
            # The server refuses an empty request, which is an answer.
            return isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.FAILED_PRECONDITION
        except ValueError:
            return False  # the channel was closed
        return True

    def _go_on_with(self, stream: _Stream) -> None:
        """Takes a new stream into use; a request that waits for its answer is sent again, and is not run again."""
        with self._turn:
            if self._stream is not None:
                self._stream.close()
            self._stream = stream
            self._skip = 0
            if self._in_flight is not None:
                self._skip = self._delivered
                stream.send(self._in_flight)

    def _lost(self, broken: FarlayerError) -> FarlayerError:
        """What a stream that could not be resumed means for its caller."""
        if self._setup is None or self._in_flight is None or not isinstance(broken, WorkerUnavailableError):
            return broken
        return WorkerDiedError(
            f"the server at {self._address} was lost in the middle of a call: {broken.message}",
            remedy="see the server's log",
        )

    def release(self, overdue_call: str = "", timeout_s: float = _RELEASE_S) -> FarlayerError | None:
        """Tells the server that the instance is not needed any more, without waiting for ever.

        Args:
            overdue_call: a call on the mailbox that did not come back: its worker is ended.

        Returns:
            What the server says of the overdue call.
        """
        if self._stream is None or self._in_flight is not None or self._closed.is_set():
            return None
        self._released = True
        self._sequence += 1
        request = LayerRequest(sequence=self._sequence, release=Release(overdue_call=overdue_call))
        try:
            reply = self.call(Parcel(request), timeout_s=timeout_s).reply
        except FarlayerError as error:
            logger.debug("no orderly release: %s", error)
            return None
        return from_wire(reply.error) if reply.HasField("error") else None

    def abort(self) -> None:
        """See Carrier."""
        if self._in_flight is not None:
            self._deliver(ProtocolError(ABORTED))

    def close(self) -> None:
        """See Carrier."""
        if self._closed.is_set():
            return
        self.release()
        self._closed.set()
        if self._stream is not None:
            self._stream.close()
        if self._line is not None:
            self._line.close()
        if self._reader is not None and self._reader is not threading.current_thread():
            self._reader.join(5.0)


class _Stream:
    """One gRPC stream, with its requests fed from a queue."""

    def __init__(self, stub: LayerServiceStub) -> None:
        self._parcels: queue.SimpleQueue[Parcel | None] = queue.SimpleQueue()
        self._call = stub.Attach(self._requests())

    def send(self, parcel: Parcel) -> None:
        self._parcels.put(parcel)

    def close(self) -> None:
        self._parcels.put(None)
        self._call.cancel()

    def __iter__(self) -> Iterator[LayerReply]:
        return iter(self._call)

    def _requests(self) -> Iterator[LayerRequest]:
        while (parcel := self._parcels.get()) is not None:
            yield parcel.request
            for piece in split(parcel.contents):
                yield LayerRequest(sequence=parcel.request.sequence, chunk=Chunk(bytes=piece))


def from_rpc_error(error: grpc.RpcError, address: str) -> FarlayerError:
    """The error of our tree that a gRPC status stands for."""
    status = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
    details = (error.details() if isinstance(error, grpc.Call) else "") or str(error)
    if "larger than max" in details:
        return ProtocolError(f"a message between here and {address} is too large: {details}")
    if status in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
        return WorkerUnavailableError(
            f"the server at {address} cannot be reached: {details}", remedy="does `farlayer serve` run there?"
        )
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        return WorkerUnavailableError(
            f"the server at {address} did not answer in time", remedy="does `farlayer serve` run there?"
        )
    return ProtocolError(f"the server at {address} ended the call: {status.name}: {details}")
