"""The contents of segments as a stream of pieces, for ends that share no memory.

Imported by the engine's and the server's side only: a worker always shares memory with its server.
"""

from __future__ import annotations

from typing import Iterable, Iterator, Mapping

import xxhash

from farlayer.blobs.ledger import Message
from farlayer.blobs.segment import Segment
from farlayer.protos.errors import ProtocolError

CHUNK_BYTES = 1024 * 1024
"""Larger messages measured slower on a gRPC stream, and so did smaller ones."""


class ContentSync:
    """Keeps the contents of the segments of one session equal at two ends that share no memory.

    Remembers a checksum (XXH3, 128 bits) of what the other end is known to have, so that only segments whose contents
    differ are sent.
    """

    def __init__(self) -> None:
        self._known: dict[int, bytes] = {}

    def write(self, message: Message, segments: Mapping[int, Segment]) -> list[memoryview]:
        """Names in a message every segment whose contents the other end lacks.

        Returns:
            Their bytes, to be sent after the message in this order; views, valid while the session's caller waits.
        """
        self._forget_all_but(segments)
        pieces = []
        for segment_id, segment in segments.items():
            view = segment.view
            digest = xxhash.xxh3_128_digest(view)
            if self._known.get(segment_id) != digest:
                self._known[segment_id] = digest
                message.contents.add(segment=segment_id, size_bytes=segment.size_bytes)
                pieces.append(view)
        return pieces

    def read(self, message: Message, segments: Mapping[int, Segment], chunks: Iterator[bytes]) -> int:
        """Fills the segments that a message names with the chunks that follow it.

        Returns:
            How many bytes were read.

        Raises:
            ProtocolError: an unknown segment, a size that is not the segment's, or chunks that do not add up.
        """
        total = 0
        for contents in message.contents:
            segment = segments.get(contents.segment)
            if segment is None or segment.size_bytes != contents.size_bytes:
                raise ProtocolError(
                    f"contents of {contents.size_bytes} bytes came for segment {contents.segment}, which "
                    + ("was never announced" if segment is None else f"has {segment.size_bytes}")
                )
            view = segment.view
            _fill(view, chunks, contents.segment)
            self._known[contents.segment] = xxhash.xxh3_128_digest(view)
            total += contents.size_bytes
        return total

    def _forget_all_but(self, segments: Mapping[int, Segment]) -> None:
        for segment_id in [known for known in self._known if known not in segments]:
            del self._known[segment_id]


def _fill(view: memoryview, chunks: Iterator[bytes], segment_id: int) -> None:
    filled = 0
    while filled < len(view):
        chunk = next(chunks, None)
        if not chunk or filled + len(chunk) > len(view):
            raise ProtocolError(
                f"contents of segment {segment_id}: {filled} of {len(view)} bytes came, then "
                + (f"a chunk of {len(chunk)}" if chunk else "no more")
            )
        view[filled : filled + len(chunk)] = chunk
        filled += len(chunk)


def split(contents: Iterable[memoryview], chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Cuts contents into chunks of at most `chunk_bytes`; no chunk holds bytes of two segments."""
    for view in contents:
        for start in range(0, len(view), chunk_bytes):
            yield bytes(view[start : start + chunk_bytes])
