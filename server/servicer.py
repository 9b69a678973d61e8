"""The gRPC face of a server: Describe, and Attach streams with their order and their resumption."""

from __future__ import annotations

import hmac
import logging
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator

import grpc

from farlayer.blobs.chunks import CHUNK_BYTES, split
from farlayer.protos import layer_service_pb2 as pb
from farlayer.protos.errors import FarlayerError, ProtocolError, VersionError, WorkerUnavailableError
from farlayer.protos.layer_service_pb2 import Chunk, LayerReply, LayerRequest
from farlayer.protos.layer_service_pb2_grpc import LayerServiceServicer
from farlayer.protos.protocol import MAX_MESSAGE_BYTES, NEWEST_VERSION, OLDEST_VERSION, software
from farlayer.protos.wire_errors import to_wire
from farlayer.server.attachment import Answer, Attachment
from farlayer.server.broker import Broker
from farlayer.server.options import ServerOptions
from farlayer.server.outbox import Outbox, StreamGoneError
from farlayer.server.supervisor import Supervisor

logger = logging.getLogger(__name__)


class LayerServicer(LayerServiceServicer):
    """Answers the calls of engines.

    Args:
        supervisor: starts the workers; owned by the caller.
        broker: hands descriptors over; owned by the caller.
    """

    def __init__(self, options: ServerOptions, supervisor: Supervisor, broker: Broker) -> None:
        self._options = options
        self._supervisor = supervisor
        self._broker = broker
        self._uuid = uuid.uuid4().hex
        self._attachments: dict[str, Attachment] = {}
        self._orphans: dict[str, threading.Timer] = {}
        self._changed = threading.Condition()
        self._draining = False
        self._hurried = False

    # Describe

    def Describe(self, request: pb.DescribeRequest, context: grpc.ServicerContext) -> pb.DescribeReply:
        """See layer_service.proto."""
        common = min(request.newest_version, NEWEST_VERSION)
        if common < max(request.oldest_version, OLDEST_VERSION):
            error = VersionError(
                f"this server speaks protocol versions {OLDEST_VERSION} to {NEWEST_VERSION}, the caller "
                f"({request.client or 'unknown'}) {request.oldest_version} to {request.newest_version}",
                remedy="install the same version of farlayer at both ends",
            )
            context.abort(getattr(grpc.StatusCode, error.wire_status), str(error))
        return pb.DescribeReply(
            server_uuid=self._uuid,
            version=common,
            software=software(),
            python=platform.python_version(),
            pid=os.getpid(),
            broker_path=self._broker.path,
            limits=pb.Limits(
                max_workers=self._options.max_workers,
                max_chunk_bytes=CHUNK_BYTES,
                max_message_bytes=MAX_MESSAGE_BYTES,
                resume_window_s=self._options.resume_window_s,
            ),
            workers=self._describe_workers(),
            draining=self._draining,
        )

    def _describe_workers(self) -> list[pb.WorkerInfo]:
        with self._changed:
            attachments = list(self._attachments.values())
        return [
            pb.WorkerInfo(
                worker=worker.name,
                pid=worker.pid,
                uptime_s=time.monotonic() - worker.started_at,
                instances=[
                    pb.InstanceInfo(instance=held.instance, layer=held.layer, type=held.type, phase=held.phase)
                    for held in attachments
                    if held.worker is worker
                ],
            )
            for worker in self._supervisor.workers
        ]

    # Attach

    def Attach(self, request_iterator: Iterator[LayerRequest], context: grpc.ServicerContext) -> Iterator[LayerReply]:
        """See layer_service.proto."""
        stream = _Stream()
        if not context.add_callback(lambda: self._lose(stream)):
            return
        pump = threading.Thread(target=self._pump, args=(request_iterator, stream), name="farlayer-attach", daemon=True)
        pump.start()
        yield from stream.outbox

    def _pump(self, requests: Iterator[LayerRequest], stream: _Stream) -> None:
        """Takes one stream's requests in order, and puts their replies into its outbox."""
        try:
            for request in requests:
                call = request.WhichOneof("call")
                if stream.attachment is None:
                    stream.attachment = self._begin(request, stream.outbox)
                    if call == "resume":
                        continue
                elif call == "chunk":
                    raise ProtocolError(f"a chunk came for request {request.sequence}, where none is due")
                held = stream.attachment
                answer = held.answer(request, _chunks(requests, request))
                if call == "release":
                    stream.attachment = None
                    self._end(held)
                _send(answer, stream.outbox)
                if call == "release":
                    return
        except (StreamGoneError, grpc.RpcError):
            pass  # the engine is gone, or its connection
        except FarlayerError as error:
            stream.outbox.put_news(LayerReply(error=to_wire(error)))
        finally:
            stream.outbox.close()
            self._lose(stream, close=False)

    def _lose(self, stream: _Stream, *, close: bool = True) -> None:
        """Notes, once, that a stream ended: also while its worker is busy with a call."""
        if close:
            stream.outbox.drop()
        with self._changed:
            attachment, stream.attachment = stream.attachment, None
        if attachment is not None:
            self._orphan(attachment)

    def _begin(self, request: LayerRequest, outbox: Outbox) -> Attachment:
        call = request.WhichOneof("call")
        if call == "resume":
            attachment = self._resume(request.resume)
            attachment.on_death = outbox.put_news
            result = pb.ResumeResult(last_sequence=attachment.last_sequence)
            outbox.put(LayerReply(sequence=request.sequence, resume=result))
            return attachment
        if call != "setup":
            raise ProtocolError(f"an Attach stream begins with Setup or Resume, not with '{call}'")
        attachment = Attachment(request.setup, self._supervisor, self._broker)
        attachment.on_death = outbox.put_news
        with self._changed:
            if self._draining:
                raise WorkerUnavailableError(
                    "this server is about to end and takes no new layers",
                    remedy="try again at its successor",
                    layer=request.setup.layer,
                )
            self._attachments[attachment.instance] = attachment
        return attachment

    def _resume(self, resume: pb.Resume) -> Attachment:
        with self._changed:
            attachment = self._attachments.get(resume.instance)
            if attachment is None or not hmac.compare_digest(attachment.secret, resume.secret):
                raise ProtocolError(
                    "there is no such instance to resume", remedy="its resume window is over: set the layer up anew"
                )
            timer = self._orphans.pop(resume.instance, None)
            if timer is None:
                raise WorkerUnavailableError("this instance cannot be resumed yet: its stream has not ended")
            timer.cancel()
        return attachment

    def _orphan(self, attachment: Attachment) -> None:
        """Keeps an instance whose stream broke for a while."""
        window_s = self._options.resume_window_s
        worker = attachment.worker
        if self._draining or not window_s or worker is None or worker.is_dead:
            self._end(attachment)
            return
        logger.info("layer '%s': its stream broke; it can be resumed for %g s", attachment.layer, window_s)
        timer = threading.Timer(window_s, self._bury, [attachment])
        timer.daemon = True
        with self._changed:
            self._orphans[attachment.instance] = timer
        timer.start()

    def _bury(self, attachment: Attachment) -> None:
        with self._changed:
            if self._orphans.pop(attachment.instance, None) is None:
                return  # resumed at the last moment
        self._end(attachment)

    def _end(self, attachment: Attachment) -> None:
        attachment.close()
        with self._changed:
            self._attachments.pop(attachment.instance, None)
            timer = self._orphans.pop(attachment.instance, None)
            if timer is not None:
                timer.cancel()
            self._changed.notify_all()

    # The server's end

    def drain(self, timeout_s: float) -> bool:
        """Takes no new instances, and waits until those that are held were released. Returns whether they were."""
        with self._changed:
            self._draining = True
            orphans = [held for held in self._attachments.values() if held.instance in self._orphans]
        for attachment in orphans:
            self._bury(attachment)
        with self._changed:
            self._changed.wait_for(lambda: self._hurried or not self._attachments, timeout_s)
            return not self._attachments

    def hurry(self) -> None:
        """Has drain return now. May be called from signal handlers."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()


class _Stream:
    """One Attach stream: what it still has to send, and the instance that it holds."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.attachment: Attachment | None = None


def _chunks(requests: Iterator[LayerRequest], request: LayerRequest) -> Iterator[bytes]:
    """The chunks that follow a request on its stream."""
    for follower in requests:
        if follower.WhichOneof("call") != "chunk" or follower.sequence != request.sequence:
            raise ProtocolError(f"after request {request.sequence} a chunk is due, not '{follower.WhichOneof('call')}'")
        yield follower.chunk.bytes
    raise StreamGoneError  # a connection that breaks may look like an end


def _send(answer: Answer, outbox: Outbox) -> None:
    outbox.put(answer.reply)
    for piece in split(answer.contents):
        outbox.put(LayerReply(sequence=answer.reply.sequence, chunk=Chunk(bytes=piece)))
