"""The worker's loop: letters from mailboxes to layer instances, one at a time."""

from __future__ import annotations

import logging
import selectors
from typing import Sequence

from google.protobuf.message import DecodeError

from farlayer.blobs.mailbox import Mailbox, MailboxClosedError, close_all
from farlayer.blobs.segment import Segment, SharedSegment, shared
from farlayer.protos.errors import FarlayerError, ProtocolError
from farlayer.protos.layer_service_pb2 import LayerReply, LayerRequest, OpenChannel
from farlayer.protos.wire_errors import to_wire
from farlayer.worker.service import LayerSessionService

logger = logging.getLogger(__name__)


class WorkerLoop:
    """Serves every session that the server opens, until the server is gone.

    Args:
        control: the mailbox to the server. Its end is the worker's end.
    """

    def __init__(self, control: Mailbox) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Returns when the server closed the control mailbox or died."""
        self._selector.register(self._control, selectors.EVENT_READ, None)
        try:
            while True:
                for key, _ in self._selector.select():
                    if key.data is None:
                        self._open_channel()
                    else:
                        self._serve(key.data)
        except MailboxClosedError:
            logger.debug("the server is gone or wants no more of this worker")
        finally:
            self._close()

    def _open_channel(self) -> None:
        message, descriptors = self._control.receive()
        OpenChannel.FromString(message)
        for descriptor in descriptors:
            channel = _Channel(Mailbox.from_descriptor(descriptor))
            self._selector.register(channel.mailbox, selectors.EVENT_READ, channel)

    def _serve(self, channel: _Channel) -> None:
        try:
            channel.serve_one()
        except MailboxClosedError:
            self._end(channel)
        except FarlayerError as error:
            logger.warning("a session is ended: %s", error)
            channel.try_to_send(LayerReply(error=to_wire(error)))
            self._end(channel)

    def _end(self, channel: _Channel) -> None:
        self._selector.unregister(channel.mailbox)
        channel.mailbox.close()

    def _close(self) -> None:
        for key in list(self._selector.get_map().values()):
            self._selector.unregister(key.fileobj)
            key.fileobj.close()  # type: ignore[union-attr]  # only mailboxes are registered
        self._selector.close()


class _Channel:
    """One session's mailbox and the service behind it."""

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        self._service = LayerSessionService(shared)

    def serve_one(self) -> None:
        message, descriptors = self.mailbox.receive()
        try:
            request = LayerRequest.FromString(message)
        except DecodeError as error:
            close_all(descriptors)
            raise ProtocolError("what came is no LayerRequest") from error
        reply, new = self._service.answer(request, open_segments(request, descriptors))
        self.mailbox.send(reply.SerializeToString(), [_descriptor(segment) for segment in new])

    def try_to_send(self, reply: LayerReply) -> None:
        try:
            self.mailbox.send(reply.SerializeToString())
        except MailboxClosedError:
            pass  # nobody is left to tell


def open_segments(message: LayerRequest | LayerReply, descriptors: Sequence[int]) -> list[Segment]:
    """Maps the segments that a message announces; takes over its descriptors.

    Raises:
        ProtocolError: not one descriptor for each segment, or one that cannot be trusted. All are closed.
        BlobError: this process may not open or map more. All are closed.
    """
    if len(descriptors) != len(message.new_segments):
        close_all(descriptors)
        raise ProtocolError(f"{len(message.new_segments)} segments announced, {len(descriptors)} descriptors came")
    segments: list[Segment] = []
    for position, (offer, descriptor) in enumerate(zip(message.new_segments, descriptors)):
        try:
            segments.append(SharedSegment.open(descriptor, offer.size_bytes))
        except FarlayerError:
            close_all(descriptors[position + 1 :])
            raise
    return segments


def _descriptor(segment: Segment) -> int:
    if not isinstance(segment, SharedSegment):
        raise ProtocolError("a blob of a worker lies in memory that cannot be shared")
    return segment.descriptor
