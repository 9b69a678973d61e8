"""The connection to a server's broker on which the descriptors of one instance travel."""

from __future__ import annotations

import secrets

from google.protobuf.message import DecodeError

from farlayer.blobs.mailbox import Mailbox, close_all
from farlayer.blobs.segment import Segment
from farlayer.protos.errors import ProtocolError
from farlayer.protos.layer_service_pb2 import BrokerReply, BrokerRequest, Descriptors, LayerReply, Register
from farlayer.worker.loop import open_segments

_ANSWER_S = 10.0


class DescriptorLine:
    """Carries descriptors beside the messages of one gRPC stream.

    Attributes:
        rendezvous: the name to give in Setup, so that the server finds this connection.
    """

    def __init__(self, mailbox: Mailbox, rendezvous: bytes) -> None:
        self._mailbox = mailbox
        self.rendezvous = rendezvous

    @classmethod
    def open(cls, broker_path: str) -> DescriptorLine:
        """Connects to the broker and registers.

        Raises:
            OSError: nobody listens there.
            ProtocolError: the broker refuses.
        """
        mailbox = Mailbox.connect(broker_path)
        rendezvous = secrets.token_bytes(16)
        try:
            mailbox.send(BrokerRequest(register=Register(rendezvous=rendezvous)).SerializeToString())
            message, descriptors = mailbox.receive(_ANSWER_S)
            close_all(descriptors)
            refusal = BrokerReply.FromString(message).error
            if refusal:
                raise ProtocolError(f"the broker refuses: {refusal}")
        except BaseException:
            mailbox.close()
            raise
        return cls(mailbox, rendezvous)

    def send(self, sequence: int, descriptors: list[int]) -> None:
        """Sends the descriptors of a request's new segments, before the request."""
        self._mailbox.send(Descriptors(sequence=sequence).SerializeToString(), descriptors)

    def receive(self, reply: LayerReply, timeout_s: float) -> list[Segment]:
        """Maps the new segments of a reply."""
        return open_segments(reply, self._receive(reply.sequence, False, timeout_s))

    def receive_mailbox(self, sequence: int, timeout_s: float) -> Mailbox:
        """Takes the mailbox to the worker that the server hands over."""
        descriptors = self._receive(sequence, True, timeout_s)
        if len(descriptors) != 1:
            close_all(descriptors)
            raise ProtocolError(f"a mailbox was promised; {len(descriptors)} descriptors came")
        return Mailbox.from_descriptor(descriptors[0])

    def _receive(self, sequence: int, mailbox: bool, timeout_s: float) -> list[int]:
        message, descriptors = self._mailbox.receive(timeout_s)
        try:
            beside = Descriptors.FromString(message)
        except DecodeError as error:
            close_all(descriptors)
            raise ProtocolError("what came from the broker is no Descriptors message") from error
        if beside.sequence != sequence or beside.mailbox != mailbox:
            close_all(descriptors)
            raise ProtocolError(f"descriptors of reply {beside.sequence} came where those of {sequence} are due")
        return descriptors

    def close(self) -> None:
        """Closes the connection."""
        self._mailbox.close()
