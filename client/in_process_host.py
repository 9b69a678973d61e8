"""A host with no processes: layers run in this one, for debugging and comparison."""

from __future__ import annotations

from collections.abc import Sequence

from farlayer.blobs.blob import Blob
from farlayer.blobs.segment import Allocator, heap
from farlayer.client.carrier import Carrier
from farlayer.client.exchange import Exchange, InPlaceExchange
from farlayer.client.host import Host
from farlayer.client.in_process_carrier import InProcessCarrier
from farlayer.client.session import Connector
from farlayer.protos.layer_service_pb2 import Setup


class InProcessHost(Host):
    """Runs layers in this process. Same interface as Pool; breakpoints work, isolation does not."""

    def start(self) -> None:
        """Does nothing."""

    def _place(self, layer_name: str) -> tuple[Connector, str]:
        return _InProcessConnector(), ""


class _InProcessConnector:
    """The way to a layer in this process."""

    server = ""
    carrier = "in-process"
    transport = "in place"
    reason = "in this process: --in-process, or a placement file says so"

    @property
    def allocator(self) -> Allocator:
        return heap

    def attach(self, setup: Setup) -> Carrier:
        return InProcessCarrier()

    def exchange(self, blobs: Sequence[Blob]) -> Exchange:
        return InPlaceExchange(blobs)
