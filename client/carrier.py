"""The port through which a session's messages travel to the worker and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from farlayer.blobs.segment import Segment, SharedSegment
from farlayer.protos.errors import TransportError
from farlayer.protos.layer_service_pb2 import LayerReply, LayerRequest

ABORTED = "the session was closed in the middle of a call"


@dataclass
class Parcel:
    """A request with what travels beside it.

    Attributes:
        request: the message.
        new: memory of `request.new_segments`, in that order.
        contents: bytes of `request.contents`, in that order; views that stay valid until the reply.
    """

    request: LayerRequest
    new: Sequence[Segment] = ()
    contents: Sequence[memoryview] = ()

    @property
    def descriptors(self) -> list[int]:
        """Of the new segments, for carriers that pass memory on."""
        descriptors = []
        for segment in self.new:
            if not isinstance(segment, SharedSegment):
                raise TransportError("a blob lies in memory of this process alone, where shared memory is needed")
            descriptors.append(segment.descriptor)
        return descriptors


@dataclass
class Return:
    """A reply with what came beside it.

    Attributes:
        reply: the message.
        new: memory of `reply.new_segments`, where the carrier passes memory on.
        chunks: the contents that follow; to be read to their end before the next call.
    """

    reply: LayerReply
    new: Sequence[Segment] = ()
    chunks: Iterator[bytes] = field(default_factory=lambda: iter(()))


class Carrier(Protocol):
    """Brings requests of one instance to its worker, one at a time."""

    def call(self, parcel: Parcel, *, timeout_s: float) -> Return:
        """Sends one request and waits for its reply.

        Errors of the layer are in the reply, not raised.

        Raises:
            WorkerUnavailableError: nothing was executed.
            WorkerDiedError: the worker ended before it answered.
            DeadlineError: no answer in time; the outcome is unknown.
            ProtocolError: the other end broke the protocol.
        """

    def abort(self) -> None:
        """Has a call that waits in another thread raise ProtocolError now. Only `close` may follow."""

    def close(self) -> None:
        """Ends the way; the instance at its other end is released. Idempotent."""
