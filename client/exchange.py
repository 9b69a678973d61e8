"""How the blobs of one instance reach its worker: in place, by shared memory, or as contents in the stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    Memory on the heap is staged: copied into shared memory before each call, and back after it. The worker cannot
    tell: what two blobs share on the heap they share in the stage, too.
    """

    def __init__(self, blobs: Sequence[Blob]) -> None:
        self._callers = list(blobs)
        self._stages: dict[Segment, Segment] = {}
        self._staged: list[int] = []
        self._ledger = BlobLedger(blobs, ENGINE_IDS, shared)
        self.bytes_moved = 0

    @property
    def params(self) -> list[Blob]:
        """See Exchange."""
        return self._ledger.params

    def pack(self, request: LayerRequest) -> Parcel:
        """See Exchange."""
        on_heap = {
            segment for blob in self._callers for segment in blob.segments if segment is not None and not segment.shared
        }
        self._stages = {segment: self._stages.get(segment) or shared(segment.size_bytes) for segment in on_heap}
        for segment, stage in self._stages.items():
            self.bytes_moved += _copy(segment, stage)
        self._staged = []
        for index, blob in enumerate(self._callers):
            if on_heap.isdisjoint(blob.segments):
                self._ledger.blobs[index] = blob
            else:
                self._ledger.blobs[index] = _twin(blob, self._stages)
                self._staged.append(index)
        return Parcel(request, self._ledger.write(request))

    def unpack(self, answer: Return) -> None:
        """See Exchange."""
        self._ledger.read(answer.reply, answer.new)
        heap_of = {stage: segment for segment, stage in self._stages.items()}
        for stage, segment in heap_of.items():
            self.bytes_moved += _copy(stage, segment)
        for index in self._staged:
            # Memory that the worker took for a blob that grew is shared already: it is adopted as it is.
            _adopt(self._callers[index], self._ledger.blobs[index], heap_of)


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


def _twin(blob: Blob, replaced: Mapping[Segment, Segment]) -> Blob:
    """A blob like another one, with other memory in the place of some."""
    twin = Blob(allocate=shared)
    _adopt(twin, blob, replaced)
    return twin


def _adopt(blob: Blob, source: Blob, replaced: Mapping[Segment, Segment]) -> None:
    data, diff = (segment and replaced.get(segment, segment) for segment in source.segments)
    blob.adopt(source.shape if source.is_shaped else None, source.capacity, data, diff)


def _copy(source: Segment, target: Segment) -> int:
    """Copies contents. Returns how many bytes."""
    target.array[:] = source.array
    return source.size_bytes
