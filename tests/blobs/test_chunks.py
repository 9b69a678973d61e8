"""Contents cross in pieces bit for bit, only where they changed, and nothing that does not add up is taken."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from farlayer.blobs.chunks import CHUNK_BYTES, ContentSync, split
from farlayer.blobs.segment import HeapSegment, Segment, SharedSegment
from farlayer.protos.errors import ProtocolError
from farlayer.protos.layer_service_pb2 import Contents, LayerRequest


def segment_of(values: np.ndarray) -> HeapSegment:
    segment = HeapSegment(values.nbytes)
    segment.array[...] = values
    return segment


def move(
    sender: ContentSync, here: Mapping[int, Segment], receiver: ContentSync, there: Mapping[int, Segment], chunk: int
) -> list[int]:
    """One message; returns the ids of the segments that were sent."""
    message = LayerRequest()
    pieces = list(split(sender.write(message, here), chunk))
    assert all(0 < len(piece) <= chunk for piece in pieces)
    size_bytes = receiver.read(message, there, iter(pieces))
    assert size_bytes == sum(map(len, pieces)) == sum(contents.size_bytes for contents in message.contents)
    return [contents.segment for contents in message.contents]


@given(
    values=st.lists(
        arrays.arrays(np.uint32, st.integers(0, 50), elements=st.integers(0, 2**32 - 1)), min_size=1, max_size=4
    ),
    chunk=st.integers(1, 100),
)
def test_contents_cross_bit_for_bit_in_chunks_of_any_size(values: list[np.ndarray], chunk: int) -> None:
    here = {number: segment_of(bits.view(np.float32)) for number, bits in enumerate(values)}
    there = {number: SharedSegment.create(segment.size_bytes) for number, segment in here.items()}
    move(ContentSync(), here, ContentSync(), there, chunk)
    for number, bits in enumerate(values):
        np.testing.assert_array_equal(there[number].array.view(np.uint32), bits)


def test_only_changed_segments_are_sent_whichever_end_changed_them() -> None:
    here = {number: segment_of(np.full(10, number, np.float32)) for number in range(3)}
    there = {number: HeapSegment(40) for number in range(3)}
    left, right = ContentSync(), ContentSync()
    assert move(left, here, right, there, 16) == [0, 1, 2]
    assert move(left, here, right, there, 16) == []
    assert move(right, there, left, here, 16) == []
    here[1].array[3] = 99
    assert move(left, here, right, there, 16) == [1]
    there[2].array[0] = -1
    assert move(right, there, left, here, 16) == [2]
    assert move(left, here, right, there, 16) == []
    assert here[2].array[0] == -1


def test_the_sign_of_zero_is_a_change() -> None:
    here, there = {0: segment_of(np.zeros(1, np.float32))}, {0: HeapSegment(4)}
    left, right = ContentSync(), ContentSync()
    move(left, here, right, there, 16)
    here[0].array[0] = -0.0
    assert move(left, here, right, there, 16) == [0]


def test_a_segment_of_an_id_that_was_used_before_is_sent_again() -> None:
    here, there = {0: segment_of(np.ones(1, np.float32))}, {0: HeapSegment(4)}
    left, right = ContentSync(), ContentSync()
    move(left, here, right, there, 16)
    left.write(LayerRequest(), {})
    there[0].array[...] = 0
    assert move(left, here, right, there, 16) == [0]


def test_no_chunk_holds_bytes_of_two_segments() -> None:
    contents = [memoryview(b"abcde"), memoryview(b""), memoryview(b"fg")]
    assert list(split(contents, 3)) == [b"abc", b"de", b"fg"]
    assert [len(piece) for piece in split([memoryview(bytes(CHUNK_BYTES + 1))])] == [CHUNK_BYTES, 1]


@pytest.mark.parametrize(
    ("segment", "size_bytes", "chunks", "says"),
    [
        (5, 8, [b"12345678"], "segment 5, which was never announced"),
        (0, 4, [b"1234"], "contents of 4 bytes came for segment 0, which has 8"),
        (0, 2**63, [b"1234"], "which has 8"),
        (0, 8, [], "0 of 8 bytes came, then no more"),
        (0, 8, [b"1234"], "4 of 8 bytes came, then no more"),
        (0, 8, [b"1234", b""], "4 of 8 bytes came, then no more"),
        (0, 8, [b"123456789"], "0 of 8 bytes came, then a chunk of 9"),
        (0, 8, [b"1234", b"56789"], "4 of 8 bytes came, then a chunk of 5"),
    ],
)
def test_contents_that_do_not_add_up_are_a_protocol_error(
    segment: int, size_bytes: int, chunks: list[bytes], says: str
) -> None:
    message = LayerRequest(contents=[Contents(segment=segment, size_bytes=size_bytes)])
    with pytest.raises(ProtocolError, match=says):
        ContentSync().read(message, {0: HeapSegment(8)}, iter(chunks))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), max_size=4), st.lists(st.binary(max_size=12)))
def test_no_message_does_more_than_a_typed_error(announced: list[tuple[int, int]], chunks: list[bytes]) -> None:
    message = LayerRequest(contents=[Contents(segment=number, size_bytes=size) for number, size in announced])
    segments = {number: HeapSegment(4 * number) for number in range(3)}
    try:
        ContentSync().read(message, segments, iter(chunks))
    except ProtocolError:
        pass
