"""After each message both ends of a session have the same table of blobs, whatever either end did to its own."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlayer.blobs.blob import Blob
from farlayer.blobs.ledger import ENGINE_IDS, WORKER_IDS, BlobLedger, Message
from farlayer.blobs.segment import HeapSegment, Segment, heap
from farlayer.protos.errors import ProtocolError
from farlayer.protos.layer_service_pb2 import BlobState, LayerReply, LayerRequest, MemoryHandle, SegmentOffer


@dataclass
class End:
    """One end of a session. Its memory stands for the other end's by `origin`, as a mapped segment would."""

    ledger: BlobLedger
    message: type[Message]


def make_ends(count: int) -> tuple[End, End]:
    engine = BlobLedger([Blob() for _ in range(count)], ENGINE_IDS, heap)
    worker = BlobLedger([Blob() for _ in range(count)], WORKER_IDS, heap)
    return End(engine, LayerRequest), End(worker, LayerReply)


def send(sender: End, receiver: End) -> Message:
    """One message, through the wire format; the receiver gets memory of its own, as where contents are streamed."""
    message = sender.message()
    new = sender.ledger.write(message)
    assert [segment.size_bytes for segment in new] == [offer.size_bytes for offer in message.new_segments]
    arrived = sender.message.FromString(message.SerializeToString())
    receiver.ledger.read(arrived, [HeapSegment(segment.size_bytes) for segment in new])
    return message


def table(end: End) -> list[tuple[object, ...]]:
    """What must be equal at both ends: shapes, capacities, and by ids which memory lies where."""
    ids = {segment: segment_id for segment_id, segment in end.ledger.segments.items()}
    return [
        (
            blob.is_shaped,
            blob.shape,
            blob.capacity,
            *(None if segment is None else (ids[segment], segment.size_bytes) for segment in blob.segments),
        )
        for blob in end.ledger.blobs
    ]


def change(blobs: list[Blob], step: tuple[str, int, object]) -> None:
    name, index, value = step
    blob = blobs[index % len(blobs)]
    if name == "reshape":
        blob.reshape(value)  # type: ignore[arg-type]
    elif blob.is_shaped and name in {"data", "diff"}:
        getattr(blob, name)[...] = 1
    elif blob.is_shaped:
        assert isinstance(value, int)
        other = blobs[value % len(blobs)]
        if other.is_shaped and other.count == blob.count:
            getattr(blob, name)(other)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reshape"), st.integers(0, 9), st.lists(st.integers(0, 3), max_size=3)),
        st.tuples(st.sampled_from(["data", "diff"]), st.integers(0, 9), st.none()),
        st.tuples(st.sampled_from(["share_data", "share_diff"]), st.integers(0, 9), st.integers(0, 9)),
    ),
    max_size=5,
)


@settings(max_examples=300)
@given(
    count=st.integers(1, 4),
    rounds=st.lists(st.tuples(STEPS, STEPS, st.integers(0, 2)), min_size=1, max_size=5),
)
def test_both_tables_are_equal_after_any_changes_at_either_end(
    count: int, rounds: list[tuple[list[tuple[str, int, object]], list[tuple[str, int, object]], int]]
) -> None:
    engine, worker = make_ends(count)
    for at_engine, at_worker, new_params in rounds:
        for step in at_engine:
            change(engine.ledger.blobs, step)
        send(engine, worker)
        assert table(engine) == table(worker)
        for _ in range(new_params):
            worker.ledger.add_param(Blob((2,)))
        for step in at_worker:
            change(worker.ledger.blobs, step)
        send(worker, engine)
        assert table(engine) == table(worker)
        assert len(engine.ledger.params) == len(worker.ledger.params)
        assert engine.ledger.segments.keys() == worker.ledger.segments.keys()
        used = {segment for blob in engine.ledger.blobs for segment in blob.segments}
        assert set(engine.ledger.segments.values()) <= used, "memory that nothing refers to is let go"
        for end in (engine, worker):
            message = end.message()
            assert end.ledger.write(message) == []
            assert message == end.message(), "nothing changed, so nothing is said"


def test_only_what_changed_is_told() -> None:
    engine, worker = make_ends(3)
    for blob in engine.ledger.blobs:
        blob.reshape(2)
    assert [state.index for state in send(engine, worker).blobs] == [0, 1, 2]
    engine.ledger.blobs[1].reshape(1)
    (state,) = send(engine, worker).blobs
    assert (state.index, list(state.shape), state.capacity) == (1, [1], 2)


def test_a_scalar_is_told_from_a_blob_without_a_shape() -> None:
    engine, worker = make_ends(2)
    engine.ledger.blobs[0].reshape()
    send(engine, worker)
    assert [blob.is_shaped for blob in worker.ledger.blobs] == [True, False]
    assert [blob.count for blob in worker.ledger.blobs] == [1, 0]


def test_ids_of_the_two_ends_never_meet() -> None:
    engine, worker = make_ends(2)
    engine.ledger.blobs[0].reshape(2)
    assert engine.ledger.blobs[0].data.shape == (2,)
    assert [offer.segment for offer in send(engine, worker).new_segments] == [2]
    worker.ledger.blobs[1].reshape(2)
    assert worker.ledger.blobs[1].data.shape == worker.ledger.blobs[1].diff.shape == (2,)
    assert [offer.segment for offer in send(worker, engine).new_segments] == [1, 3]


def test_memory_that_was_outgrown_is_retired() -> None:
    engine, worker = make_ends(1)
    engine.ledger.blobs[0].reshape(2)
    assert engine.ledger.blobs[0].data.shape == (2,)
    send(engine, worker)
    worker.ledger.blobs[0].reshape(5)
    message = send(worker, engine)
    assert list(message.retired_segments) == [2]
    assert engine.ledger.segments == worker.ledger.segments == {}


def test_params_keep_their_order_and_their_objects() -> None:
    engine, worker = make_ends(1)
    for number in (1, 2):
        worker.ledger.add_param(Blob((number,)))
    send(worker, engine)
    first = engine.ledger.params
    assert [blob.shape for blob in first] == [(1,), (2,)]
    worker.ledger.add_param(Blob((3,)))
    send(worker, engine)
    assert [blob.shape for blob in engine.ledger.params] == [(1,), (2,), (3,)]
    assert engine.ledger.params[:2] == first


# --- hostile messages ---


def shaped(**given: object) -> BlobState:
    return BlobState(**{"shaped": True, "shape": [2], "capacity": 2, **given})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (LayerReply(blobs=[shaped(index=1)]), "blob 1 is named, but this instance has 1"),
        (LayerReply(blobs=[shaped(index=2**31, is_param=True)]), "is named, but this instance has 1"),
        (LayerReply(blobs=[shaped(shape=[3])]), "cannot be as the other end says"),
        (LayerReply(blobs=[shaped(shape=[-1, -2])]), "negative"),
        (LayerReply(blobs=[shaped(shape=[2**62, 2**62])]), "cannot be as the other end says"),
        (LayerReply(blobs=[shaped(shape=[1] * 33)]), "32 axes"),
        (LayerReply(blobs=[shaped(capacity=2**63)]), "cannot be as the other end says"),
        (LayerReply(blobs=[shaped(data=MemoryHandle(segment=99))]), "segment 99 is named, but was never announced"),
        (LayerReply(blobs=[shaped(diff=MemoryHandle(segment=99))]), "segment 99 is named, but was never announced"),
        (LayerReply(blobs=[shaped(capacity=3, data=MemoryHandle(segment=2))]), "does not fit 8 bytes"),
        (LayerReply(retired_segments=[7]), "segment 7 is retired, but was never announced"),
        (LayerReply(retired_segments=[2, 2]), "segment 2 is retired, but was never announced"),
        (LayerReply(new_segments=[SegmentOffer(segment=2, size_bytes=8)]), "segment 2 is announced"),
        (LayerReply(new_segments=[SegmentOffer(segment=4, size_bytes=8)]), "segment 4 is announced"),
        (LayerReply(new_segments=[SegmentOffer(segment=1, size_bytes=8)] * 2), "segment 1 is announced"),
    ],
)
def test_a_message_that_cannot_be_is_a_protocol_error(message: LayerReply, says: str) -> None:
    engine, worker = make_ends(1)
    engine.ledger.blobs[0].reshape(2)
    assert engine.ledger.blobs[0].data.shape == (2,)
    send(engine, worker)
    with pytest.raises(ProtocolError, match=says):
        engine.ledger.read(message, [HeapSegment(offer.size_bytes) for offer in message.new_segments])


@pytest.mark.parametrize("count", [0, 2])
def test_another_number_of_segments_than_announced_is_a_protocol_error(count: int) -> None:
    engine, _ = make_ends(1)
    new: list[Segment] = [HeapSegment(8) for _ in range(count)]
    with pytest.raises(ProtocolError, match=f"1 segments announced, {count} came"):
        engine.ledger.read(LayerReply(new_segments=[SegmentOffer(segment=1, size_bytes=8)]), new)


STATES = st.builds(
    BlobState,
    index=st.integers(0, 4),
    shaped=st.booleans(),
    shape=st.lists(st.integers(-2, 2**40), max_size=4),
    capacity=st.integers(0, 2**34),
    data=st.none() | st.builds(MemoryHandle, segment=st.integers(0, 6)),
    diff=st.none() | st.builds(MemoryHandle, segment=st.integers(0, 6)),
    is_param=st.booleans(),
)


@given(
    st.builds(
        LayerReply,
        new_segments=st.lists(
            st.builds(SegmentOffer, segment=st.integers(0, 6), size_bytes=st.sampled_from([0, 4, 8])), max_size=3
        ),
        retired_segments=st.lists(st.integers(0, 6), max_size=3),
        blobs=st.lists(STATES, max_size=4),
    )
)
def test_no_message_does_more_than_a_typed_error(message: LayerReply) -> None:
    engine, worker = make_ends(2)
    engine.ledger.blobs[0].reshape(2)
    assert engine.ledger.blobs[0].data.shape == (2,)
    send(engine, worker)
    try:
        engine.ledger.read(message, [HeapSegment(offer.size_bytes) for offer in message.new_segments])
    except ProtocolError:
        return
    for blob in engine.ledger.blobs:
        for segment in blob.segments:
            assert segment is None or segment.size_bytes >= 4 * blob.capacity
