"""Between a stream and a worker's mailbox: requests one way, replies the other, and what belongs to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from google.protobuf.message import DecodeError

from farlayer.blobs.blob import MAX_COUNT
from farlayer.blobs.chunks import ContentSync
from farlayer.blobs.mailbox import Mailbox, close_all
from farlayer.blobs.segment import SharedSegment
from farlayer.protos.errors import ProtocolError
from farlayer.protos.layer_service_pb2 import Descriptors, LayerReply, LayerRequest, SegmentOffer
from farlayer.worker.loop import open_segments


class Relay(Protocol):
    """One instance's way to its worker."""

    def exchange(
        self, request: LayerRequest, chunks: Iterator[bytes], timeout_s: float
    ) -> tuple[LayerReply, list[memoryview]]:
        """Brings one request to the worker and its reply back.

        Args:
            chunks: the contents that follow the request on its stream.

        Returns:
            The reply, and the contents that follow it.

        Raises:
            MailboxClosedError: the worker is gone.
            DeadlineError: the worker did not answer.
            ProtocolError: one of the two broke the protocol.
        """

    def repeat(self, reply: LayerReply) -> list[memoryview]:
        """The contents that belong to a reply that is sent once more."""

    def close(self) -> None:
        """Closes the way; the worker drops the instance."""


class StreamedRelay:
    """For an engine that shares no memory: contents go from the stream into segments that the worker maps.

    Args:
        channel: the mailbox of the instance; owned by the relay.
    """

    def __init__(self, channel: Mailbox) -> None:
        self._channel = channel
        self._segments: dict[int, SharedSegment] = {}
        self._sync = ContentSync()

    def exchange(
        self, request: LayerRequest, chunks: Iterator[bytes], timeout_s: float
    ) -> tuple[LayerReply, list[memoryview]]:
        """See Relay."""
        new = [self._take(offer).descriptor for offer in request.new_segments]
        self._sync.read(request, self._segments, chunks)
        request.ClearField("contents")
        self._channel.send(request.SerializeToString(), new)
        self._retire(request)

        message, descriptors = self._channel.receive(timeout_s)
        reply = _parse(message, descriptors)
        for offer, opened in zip(reply.new_segments, open_segments(reply, descriptors), strict=True):
            if isinstance(opened, SharedSegment):
                self._segments[offer.segment] = opened
        self._retire(reply)
        return reply, self._sync.write(reply, self._segments)

    def _take(self, offer: SegmentOffer) -> SharedSegment:
        if offer.size_bytes % 4 or offer.size_bytes > MAX_COUNT * 4:
            raise ProtocolError(
                f"a segment of {offer.size_bytes} bytes: at most {MAX_COUNT} float32 values are allowed"
            )
        known = self._segments.get(offer.segment)
        if known is None or known.size_bytes != offer.size_bytes:
            # Known is a segment whose request broke off with its stream, and comes again.
            known = self._segments[offer.segment] = SharedSegment.create(offer.size_bytes)
        return known

    def repeat(self, reply: LayerReply) -> list[memoryview]:
        """See Relay. The segments still hold what the reply said: nothing ran since."""
        return [self._segments[contents.segment].view for contents in reply.contents]

    def close(self) -> None:
        """See Relay."""
        self._channel.shutdown()
        self._channel.close()

    def _retire(self, message: LayerRequest | LayerReply) -> None:
        for segment_id in message.retired_segments:
            self._segments.pop(segment_id, None)


class SharedRelay:
    """For an engine on this host: the descriptors of its segments are passed on, memory is not touched.

    Args:
        channel: the mailbox of the instance; owned by the relay.
        side: the connection at the broker on which descriptors travel; owned by the relay.
    """

    def __init__(self, channel: Mailbox, side: Mailbox) -> None:
        self._channel: Mailbox | None = channel
        self._side = side

    def exchange(
        self, request: LayerRequest, chunks: Iterator[bytes], timeout_s: float
    ) -> tuple[LayerReply, list[memoryview]]:
        """See Relay."""
        if self._channel is None:
            raise ProtocolError("this instance's mailbox was handed over: requests go there")
        if request.contents:
            raise ProtocolError("contents came for an instance whose memory is shared")
        descriptors = self._receive_descriptors(request, timeout_s) if request.new_segments else []
        try:
            self._channel.send(request.SerializeToString(), descriptors)
        finally:
            close_all(descriptors)
        message, descriptors = self._channel.receive(timeout_s)
        try:
            reply = LayerReply.FromString(message)
            if descriptors:
                beside = Descriptors(sequence=request.sequence)
                self._side.send(beside.SerializeToString(), descriptors)
        except DecodeError as error:
            raise ProtocolError("what the worker sent is no LayerReply") from error
        finally:
            close_all(descriptors)
        return reply, []

    def hand_over(self, sequence: int) -> None:
        """Gives the engine the mailbox of the instance; later requests do not come through here."""
        if self._channel is None:
            raise ProtocolError("this instance's mailbox was handed over before")
        beside = Descriptors(sequence=sequence, mailbox=True)
        self._side.send(beside.SerializeToString(), [self._channel.fileno()])
        self._channel.close()
        self._channel = None

    def repeat(self, reply: LayerReply) -> list[memoryview]:
        """See Relay. Descriptors were delivered by the broker's socket, which did not break with the stream."""
        return []

    def close(self) -> None:
        """See Relay."""
        for mailbox in (self._channel, self._side):
            if mailbox is not None:
                mailbox.shutdown()
                mailbox.close()

    def _receive_descriptors(self, request: LayerRequest, timeout_s: float) -> list[int]:
        message, descriptors = self._side.receive(timeout_s)
        try:
            beside = Descriptors.FromString(message)
        except DecodeError as error:
            close_all(descriptors)
            raise ProtocolError("what came beside the request is no Descriptors message") from error
        if beside.sequence != request.sequence or len(descriptors) != len(request.new_segments):
            close_all(descriptors)
            raise ProtocolError(
                f"request {request.sequence} announces {len(request.new_segments)} segments; "
                f"{len(descriptors)} descriptors came for request {beside.sequence}"
            )
        return descriptors


def _parse(message: bytes, descriptors: list[int]) -> LayerReply:
    try:
        return LayerReply.FromString(message)
    except DecodeError as error:
        close_all(descriptors)
        raise ProtocolError("what the worker sent is no LayerReply") from error
