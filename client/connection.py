"""One server as an engine sees it: its channel, what it said of itself, and what was chosen for it."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from farlayer.blobs.blob import Blob
from farlayer.blobs.segment import Allocator, heap, shared
from farlayer.client.carrier import Carrier
from farlayer.client.descriptor_line import DescriptorLine
from farlayer.client.exchange import Exchange, SharedExchange, StreamedExchange
from farlayer.client.grpc_carrier import GrpcCarrier
from farlayer.client.mailbox_carrier import MailboxCarrier
from farlayer.client.negotiation import Choice, choose, describe
from farlayer.client.options import ClientOptions
from farlayer.protos.errors import TransportError
from farlayer.protos.layer_service_pb2 import SHARED, STREAMED, DescribeReply, Setup
from farlayer.protos.layer_service_pb2_grpc import LayerServiceStub
from farlayer.protos.protocol import GRPC_OPTIONS

_CHANNEL_OPTIONS = [
    *GRPC_OPTIONS,
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.enable_http_proxy", 0),
]


class ServerConnection:
    """The way to one server. `open`, then `attach` for each instance, then `close`.

    Attributes:
        address: "unix:/path" or "host:port".
        description: what the server said of itself; set by open.
        choice: carrier and transport for its instances, with the reason; set by open.
    """

    description: DescribeReply
    choice: Choice

    def __init__(self, address: str, options: ClientOptions) -> None:
        self.address = address
        self._options = options
        self._channel: grpc.Channel | None = None

    def open(self) -> None:
        """Connects, agrees on a protocol version, and tries what can be shared.

        Raises:
            WorkerUnavailableError: the server does not answer.
            VersionError: the two ends share no protocol version.
            TransportError: what the options force cannot be had.
        """
        self._channel = grpc.insecure_channel(self.address, options=_CHANNEL_OPTIONS)
        self._stub = LayerServiceStub(self._channel)
        try:
            self.description = describe(self._stub, self.address, timeout_s=self._options.connect_timeout_s)
            self.choice = choose(self.address, self.description, self._options)
        except BaseException:
            self.close()
            raise

    def refresh(self) -> DescribeReply:
        """Asks the server again, for the workers that it holds now."""
        self.description = describe(self._stub, self.address, timeout_s=self._options.connect_timeout_s)
        return self.description

    # What sessions need (session.Connector)

    @property
    def server(self) -> str:
        """The address."""
        return self.address

    @property
    def carrier(self) -> str:
        """The chosen carrier."""
        return self.choice.carrier

    @property
    def transport(self) -> str:
        """The chosen transport."""
        return self.choice.transport

    @property
    def reason(self) -> str:
        """Why these were chosen."""
        return self.choice.reason

    @property
    def allocator(self) -> Allocator:
        """What blobs should be allocated with that go to this server's workers."""
        return shared if self.choice.transport == "shared" else heap

    def exchange(self, blobs: Sequence[Blob]) -> Exchange:
        """Makes what moves the blobs of one instance."""
        return SharedExchange(blobs) if self.choice.transport == "shared" else StreamedExchange(blobs)

    def attach(self, setup: Setup) -> Carrier:
        """Makes the carrier of one instance, and enters into its Setup how it will travel."""
        window_s = self.description.limits.resume_window_s
        if self.choice.transport != "shared":
            setup.transport = STREAMED
            return GrpcCarrier(self._stub, self.address, window_s, None)
        try:
            line = DescriptorLine.open(self.choice.broker_path)
        except OSError as error:
            raise TransportError(
                f"the broker of {self.address} cannot be reached any more: {error.strerror}",
                remedy="is the server still running?",
            ) from error
        setup.transport = SHARED
        setup.rendezvous = line.rendezvous
        setup.direct = self.choice.carrier == "mailbox"
        carrier = GrpcCarrier(self._stub, self.address, window_s, line)
        return MailboxCarrier(carrier) if setup.direct else carrier

    def close(self) -> None:
        """Closes the channel. Instances that are still attached end with it. Idempotent."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
