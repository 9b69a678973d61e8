"""What one end of a session has told the other about its blobs, and how the rest is put into messages and read back."""

from __future__ import annotations

from typing import Iterator, Sequence, Union

from farlayer.blobs.blob import Blob
from farlayer.blobs.segment import Allocator, Segment
from farlayer.protos.errors import BlobError, ProtocolError
from farlayer.protos.layer_service_pb2 import BlobState, LayerReply, LayerRequest

Message = Union[LayerRequest, LayerReply]

ENGINE_IDS = 2
WORKER_IDS = 1


class BlobLedger:
    """Keeps the blob table of one layer instance equal at both ends of a session.

    Each end holds a ledger. `write` puts what changed here since the last message into a message; `read` at the other
    end applies it. Shapes, capacities and which memory lies under which blob travel; contents do not.

    Args:
        blobs: the table; the ledger owns the list, and `read` appends params that the worker added.
        first_id: id of the first segment that is announced from this end: ENGINE_IDS or WORKER_IDS.
        allocate: memory of blobs that the other end adds.

    Attributes:
        segments: every segment that a handle of either end may name, by id.
    """

    def __init__(self, blobs: Sequence[Blob], first_id: int, allocate: Allocator) -> None:
        self.blobs = list(blobs)
        self.segments: dict[int, Segment] = {}
        self._ids: dict[Segment, int] = {}
        self._known: dict[int, object] = {}
        self._params: set[int] = set()
        self._next_id = first_id
        self._allocate = allocate

    @property
    def params(self) -> list[Blob]:
        """The blobs that the layer added, in the order in which it did."""
        return [self.blobs[index] for index in sorted(self._params)]

    def add_param(self, blob: Blob) -> None:
        """Enters a blob that the layer added; the next `write` tells the other end."""
        self._params.add(len(self.blobs))
        self.blobs.append(blob)

    # Out

    def write(self, message: Message) -> list[Segment]:
        """Puts into a message all that changed since the last message.

        Returns:
            The segments that are new to the other end, in the order of `message.new_segments`.
        """
        new: list[Segment] = []
        changed = False
        for index, blob in enumerate(self.blobs):
            now = _facts(blob)
            if self._known.get(index) != now:
                self._known[index] = now
                self._write_state(message, index, blob, new)
                changed = True
        if changed:
            for segment_id in self._unreferenced():
                message.retired_segments.append(segment_id)
                self._drop(segment_id)
        return new

    def _write_state(self, message: Message, index: int, blob: Blob, new: list[Segment]) -> None:
        state = message.blobs.add(
            index=index,
            shaped=blob.is_shaped,
            shape=blob.shape,
            capacity=blob.capacity,
            is_param=index in self._params,
        )
        for handle, segment in zip((state.data, state.diff), blob.segments):
            if segment is not None:
                handle.segment = self._id_of(message, segment, new)

    def _id_of(self, message: Message, segment: Segment, new: list[Segment]) -> int:
        known = self._ids.get(segment)
        if known is not None:
            return known
        segment_id = self._next_id
        self._next_id += 2
        self._enter(segment_id, segment)
        message.new_segments.add(segment=segment_id, size_bytes=segment.size_bytes)
        new.append(segment)
        return segment_id

    # In

    def read(self, message: Message, new: Sequence[Segment]) -> None:
        """Applies what the other end wrote.

        Args:
            new: the memory of `message.new_segments`, in that order.

        Raises:
            ProtocolError: the message names blobs or segments that cannot be. The session is of no use any more.
        """
        if len(new) != len(message.new_segments):
            raise ProtocolError(f"{len(message.new_segments)} segments announced, {len(new)} came")
        for offer, segment in zip(message.new_segments, new):
            if offer.segment in self.segments or offer.segment % 2 == self._next_id % 2:
                raise ProtocolError(f"segment {offer.segment} is announced, but the id is taken")
            self._enter(offer.segment, segment)
        for state in message.blobs:
            self._read_state(state)
        for segment_id in message.retired_segments:
            if segment_id not in self.segments:
                raise ProtocolError(f"segment {segment_id} is retired, but was never announced")
            self._drop(segment_id)

    def _read_state(self, state: BlobState) -> None:
        if state.index == len(self.blobs) and state.is_param:
            self.add_param(Blob(allocate=self._allocate))
        if state.index >= len(self.blobs):
            raise ProtocolError(f"blob {state.index} is named, but this instance has {len(self.blobs)} blobs")
        blob = self.blobs[state.index]
        data = self._segment_of(state.data.segment) if state.HasField("data") else None
        diff = self._segment_of(state.diff.segment) if state.HasField("diff") else None
        try:
            blob.adopt(tuple(state.shape) if state.shaped else None, state.capacity, data, diff)
        except BlobError as error:
            raise ProtocolError(f"blob {state.index} cannot be as the other end says: {error.message}") from error
        self._known[state.index] = _facts(blob)

    def _segment_of(self, segment_id: int) -> Segment:
        try:
            return self.segments[segment_id]
        except KeyError:
            raise ProtocolError(f"segment {segment_id} is named, but was never announced") from None

    # The table of segments

    def _enter(self, segment_id: int, segment: Segment) -> None:
        self.segments[segment_id] = segment
        self._ids[segment] = segment_id

    def _drop(self, segment_id: int) -> None:
        del self._ids[self.segments.pop(segment_id)]

    def _unreferenced(self) -> Iterator[int]:
        used = {segment for blob in self.blobs for segment in blob.segments if segment is not None}
        return iter([segment_id for segment_id, segment in self.segments.items() if segment not in used])


def _facts(blob: Blob) -> tuple[tuple[int, ...] | None, int, Segment | None, Segment | None]:
    data, diff = blob.segments
    return (blob.shape if blob.is_shaped else None, blob.capacity, data, diff)
