"""The carrier of one host: straight to the worker, over a mailbox that the server handed over."""

from __future__ import annotations

import threading

from google.protobuf.message import DecodeError

from farlayer.blobs.mailbox import Mailbox, MailboxClosedError, close_all
from farlayer.client.carrier import ABORTED, Parcel, Return
from farlayer.client.grpc_carrier import GrpcCarrier
from farlayer.protos.errors import DeadlineError, FarlayerError, ProtocolError, WorkerDiedError, WorkerUnavailableError
from farlayer.protos.layer_service_pb2 import LayerReply
from farlayer.worker.loop import open_segments

_NEWS_S = 3.0
"""How long to wait for the server's word on how a worker died."""


class MailboxCarrier:
    """Setup goes by gRPC; from then on the worker is called directly, and the stream is held as a lease.

    Args:
        lease: the stream; owned by the carrier.
    """

    def __init__(self, lease: GrpcCarrier) -> None:
        self._lease = lease
        self._mailbox: Mailbox | None = None
        self._news: FarlayerError | None = None
        self._news_came = threading.Event()
        lease.on_news = self._hear

    def call(self, parcel: Parcel, *, timeout_s: float) -> Return:
        """See Carrier."""
        if self._mailbox is None:
            return self._set_up(parcel, timeout_s)
        if self._news_came.is_set():
            raise self._cause_of_death()
        parcel.request.timeout_s = timeout_s
        try:
            self._mailbox.send(parcel.request.SerializeToString(), parcel.descriptors)
            message, descriptors = self._mailbox.receive(timeout_s)
        except MailboxClosedError as error:
            raise self._cause_of_death() from error
        except DeadlineError as error:
            raise self._give_up(parcel, timeout_s) or error from error
        try:
            reply = LayerReply.FromString(message)
        except DecodeError as error:
            close_all(descriptors)
            raise ProtocolError("what came from the worker is no LayerReply") from error
        return Return(reply, open_segments(reply, descriptors))

    def _set_up(self, parcel: Parcel, timeout_s: float) -> Return:
        answer = self._lease.call(parcel, timeout_s=timeout_s)
        if answer.reply.setup.direct:
            self._mailbox = self._lease.receive_mailbox(answer.reply.sequence, timeout_s)
        return answer

    def _give_up(self, parcel: Parcel, timeout_s: float) -> FarlayerError | None:
        """Has the server end a worker that does not answer, and tell where it hangs."""
        return self._lease.release(parcel.request.WhichOneof("call") or "", timeout_s)

    def _hear(self, news: FarlayerError) -> None:
        self._news = news
        self._news_came.set()
        if self._mailbox is not None:
            # Wake the call that waits: a process that user code forked may hold the worker's end open.
            self._mailbox.shutdown()

    def _cause_of_death(self) -> FarlayerError:
        self._news_came.wait(_NEWS_S)
        if isinstance(self._news, WorkerUnavailableError):
            return WorkerDiedError(f"the worker ended with its server: {self._news.message}", remedy=self._news.remedy)
        return self._news or WorkerDiedError("the worker closed its mailbox; its server does not say why")

    def abort(self) -> None:
        """See Carrier."""
        self._hear(ProtocolError(ABORTED))
        self._lease.abort()

    def close(self) -> None:
        """See Carrier."""
        if self._mailbox is not None:
            self._mailbox.close()
        self._lease.close()
