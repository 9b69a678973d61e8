"""How the blobs of one instance reach its worker: in place, by shared memory, or as contents in the stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from farlayer.blobs.blob import Blob
from farlayer.blobs.chunks import ContentSync
from farlayer.blobs.ledger import ENGINE_IDS, BlobLedger
from farlayer.blobs.segment import Segment, heap, shared
from farlayer.client.carrier import Parcel, Return
from farlayer.protos.layer_service_pb2 import LayerRequest


class Exchange(Protocol):
    """Puts blobs into parcels and takes them out of what comes back.

    Attributes:
        params: the blobs that the layer added.
        bytes_moved: bytes that were copied or sent so far, both ways; memory that is shared moves none.
    """

    bytes_moved: int

    @property
    def params(self) -> list[Blob]:
        """The blobs that the layer added."""

    def pack(self, request: LayerRequest) -> Parcel:
        """Puts into a parcel what changed since the last one."""

    def unpack(self, answer: Return) -> None:
        """Brings into the blobs what the layer changed."""


class InPlaceExchange:
    """For a layer in this process: it works on the caller's memory itself."""

    def __init__(self, blobs: Sequence[Blob]) -> None:
        self._ledger = BlobLedger(blobs, ENGINE_IDS, heap)
        self.bytes_moved = 0

    @property
    def params(self) -> list[Blob]:
        """See Exchange."""
        return self._ledger.params

    def pack(self, request: LayerRequest) -> Parcel:
        """See Exchange."""
        return Parcel(request, self._ledger.write(request))

    def unpack(self, answer: Return) -> None:
        """See Exchange."""
        self._ledger.read(answer.reply, answer.new)


class SharedExchange:
    """For a worker on this host: it maps the caller's memory.

    A blob that lies on the heap is staged: copied into shared memory before each call, and back after it. The worker
    cannot tell.
    """

    def __init__(self, blobs: Sequence[Blob]) -> None:
        self._callers = list(blobs)
        self._stages: dict[int, Blob] = {}
        self._staged: list[int] = []
        self._ledger = BlobLedger(blobs, ENGINE_IDS, shared)
        self.bytes_moved = 0

    @property
    def params(self) -> list[Blob]:
        """See Exchange."""
        return self._ledger.params

    def pack(self, request: LayerRequest) -> Parcel:
        """See Exchange."""
        self._staged = []
        for index, blob in enumerate(self._callers):
            if all(segment is None or segment.shared for segment in blob.segments):
                self._ledger.blobs[index] = blob
                continue
            stage = self._stages.setdefault(index, Blob(allocate=shared))
            self.bytes_moved += _copy(blob, stage)
            self._ledger.blobs[index] = stage
            self._staged.append(index)
        return Parcel(request, self._ledger.write(request))

    def unpack(self, answer: Return) -> None:
        """See Exchange."""
        self._ledger.read(answer.reply, answer.new)
        for index in self._staged:
            self.bytes_moved += _copy(self._stages[index], self._callers[index])


class StreamedExchange:
    """For a worker that shares no memory with this process: contents that differ are sent."""

    def __init__(self, blobs: Sequence[Blob]) -> None:
        self._ledger = BlobLedger(blobs, ENGINE_IDS, heap)
        self._sync = ContentSync()
        self.bytes_moved = 0

    @property
    def params(self) -> list[Blob]:
        """See Exchange."""
        return self._ledger.params

    def pack(self, request: LayerRequest) -> Parcel:
        """See Exchange."""
        new = self._ledger.write(request)
        contents = self._sync.write(request, self._ledger.segments)
        self.bytes_moved += sum(len(view) for view in contents)
        return Parcel(request, new, contents)

    def unpack(self, answer: Return) -> None:
        """See Exchange."""
        new: list[Segment] = [heap(offer.size_bytes) for offer in answer.reply.new_segments]
        self._ledger.read(answer.reply, new)
        self.bytes_moved += self._sync.read(answer.reply, self._ledger.segments, answer.chunks)


def _copy(source: Blob, target: Blob) -> int:
    """Copies shape and contents. Returns how many bytes."""
    if not source.is_shaped:
        return 0
    target.reshape(source.shape)
    data, diff = source.segments
    if data is not None:
        target.data[...] = source.data
    if diff is not None:
        target.diff[...] = source.diff
    return source.count * 4 * ((data is not None) + (diff is not None))
