"""A carrier with no process behind it: the layer runs in this one."""

from __future__ import annotations

from farlayer.blobs.segment import heap
from farlayer.client.carrier import Parcel, Return
from farlayer.worker.service import LayerSessionService


class InProcessCarrier:
    """Calls the same code that a worker runs, on the same blobs, with no socket between.

    For debugging (breakpoints work), for comparison, and for layers that are not worth a process. Deadlines are not
    kept: nothing can interrupt user code in this process but Ctrl-C.
    """

    def __init__(self) -> None:
        self._service = LayerSessionService(heap)

    def call(self, parcel: Parcel, *, timeout_s: float) -> Return:
        """See Carrier."""
        reply, new = self._service.answer(parcel.request, parcel.new)
        return Return(reply, new)

    def abort(self) -> None:
        """See Carrier. Nothing interrupts user code in this process: the call goes on to its end."""

    def close(self) -> None:
        """See Carrier."""
        self._service = LayerSessionService(heap)
