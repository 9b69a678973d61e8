"""A client with nothing but the generated code: the protocol as its file documents it, and what breaks it."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from farlayer.protos import layer_service_pb2 as pb
from farlayer.protos.layer_service_pb2_grpc import LayerServiceStub
from tests.remote_support import Gate, wait_for, wait_until_gone
from tests.server.server_support import RawStream, ServerProcess, channel_to, chunk, setup_request, worker_pids

TWO_VALUES = np.array([1, 2], np.float32).tobytes()


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess("127.0.0.1:0", resume_window_s=0.2) as running:
        yield running


@pytest.fixture
def stub(server: ServerProcess) -> Iterator[LayerServiceStub]:
    """A stub; after the test the server must hold nothing, and answer."""
    with channel_to(server.address) as channel:
        stub = LayerServiceStub(channel)
        yield stub
        assert wait_for(lambda: not worker_pids(stub)), server.log()
    assert server.process.poll() is None
    assert "Traceback" not in server.log()


@pytest.fixture
def stream(stub: LayerServiceStub) -> Iterator[RawStream]:
    with RawStream(stub) as opened:
        yield opened


def set_up(stream: RawStream, layer: str, **given: str) -> pb.SetupResult:
    reply = stream.ask(setup_request(layer, **given), chunk(TWO_VALUES))  # type: ignore[arg-type]
    assert (reply.sequence, reply.error.message) == (1, "")
    assert reply.HasField("setup")
    return reply.setup


def contents_of(stream: RawStream, reply: pb.LayerReply) -> dict[int, list[float]]:
    """Reads the chunks that follow a reply; values by segment."""
    found = {}
    for contents in reply.contents:
        following = stream.next()
        assert following.sequence == reply.sequence
        assert len(following.chunk.bytes) == contents.size_bytes
        found[contents.segment] = np.frombuffer(following.chunk.bytes, np.float32).tolist()
    return found


def top_data(stream: RawStream, reply: pb.LayerReply) -> list[float]:
    """The data of the top of a forward's reply."""
    (state,) = [state for state in reply.blobs if state.index == 1] or [None]
    segment = state.data.segment if state is not None else reply.contents[0].segment
    return contents_of(stream, reply)[segment]


def test_setup_forward_and_backward_work_with_the_generated_code_alone(stream: RawStream) -> None:
    result = set_up(stream, "Double", module="contract_layers")
    assert result.pid > 0
    assert result.worker.startswith("w")

    reply = stream.ask(pb.LayerRequest(sequence=2, forward=pb.Forward()))
    (top,) = reply.blobs
    assert (top.index, top.shaped, list(top.shape), top.capacity, top.is_param) == (1, True, [2], 2, False)
    assert top.data.segment % 2 == 1, "odd ids are the worker's"
    assert [offer.segment for offer in reply.new_segments] == [top.data.segment]
    assert contents_of(stream, reply) == {top.data.segment: [2, 4]}

    top.diff.segment = 4
    request = pb.LayerRequest(
        sequence=3,
        new_segments=[pb.SegmentOffer(segment=4, size_bytes=8)],
        blobs=[top],
        contents=[pb.Contents(segment=4, size_bytes=8)],
        backward=pb.Backward(propagate_down=[True]),
    )
    reply = stream.ask(request, chunk(np.array([5, 6], np.float32).tobytes(), 3))
    (bottom,) = reply.blobs
    assert bottom.index == 0
    assert contents_of(stream, reply) == {bottom.diff.segment: [10, 12]}

    reply = stream.ask(pb.LayerRequest(sequence=4, release=pb.Release()))
    assert (reply.sequence, reply.error.kind) == (4, "")
    assert wait_until_gone([result.pid], 5) == []
    with pytest.raises(StopIteration):
        stream.next()


def test_chunks_may_be_cut_anywhere(stream: RawStream) -> None:
    pieces = [chunk(TWO_VALUES[:1]), chunk(TWO_VALUES[1:6]), chunk(TWO_VALUES[6:])]
    assert stream.ask(setup_request("Plain"), *pieces).error.message == ""
    reply = stream.ask(pb.LayerRequest(sequence=2, forward=pb.Forward()))
    assert top_data(stream, reply) == [2, 4]


def test_a_request_that_comes_again_is_answered_again_and_not_run_again(stream: RawStream) -> None:
    set_up(stream, "Counts")
    forward = pb.LayerRequest(sequence=2, forward=pb.Forward())
    first = stream.ask(forward)
    assert top_data(stream, first) == [1, 1]
    again = stream.ask(forward)
    assert again == first
    assert top_data(stream, again) == [1, 1]
    third = stream.ask(pb.LayerRequest(sequence=3, forward=pb.Forward()))
    assert top_data(stream, third) == [2, 2]


def test_a_request_with_contents_that_comes_again_is_not_run_again(stream: RawStream) -> None:
    set_up(stream, "Counts")
    forward = pb.LayerRequest(sequence=2, forward=pb.Forward(), contents=[pb.Contents(segment=2, size_bytes=8)])
    for _ in range(3):
        reply = stream.ask(forward, chunk(TWO_VALUES, 2))
        assert top_data(stream, reply) == [1, 1]


def test_the_first_request_must_be_setup_or_resume(stream: RawStream) -> None:
    reply = stream.ask(pb.LayerRequest(sequence=1, forward=pb.Forward()))
    assert reply.error.kind == "ProtocolError"
    assert "begins with Setup or Resume" in reply.error.message
    with pytest.raises(StopIteration):
        stream.next()


def test_an_empty_request_is_a_protocol_error(stream: RawStream) -> None:
    assert stream.ask(pb.LayerRequest()).error.kind == "ProtocolError"


def test_a_second_setup_is_refused(stream: RawStream) -> None:
    set_up(stream, "Plain")
    reply = stream.ask(setup_request("Plain", sequence=2), chunk(TWO_VALUES, 2))
    assert reply.error.kind == "ProtocolError"
    assert "Setup came twice" in reply.error.message


@pytest.mark.parametrize("secret", [b"", b"0" * 16])
def test_resume_needs_the_secret(stub: LayerServiceStub, stream: RawStream, secret: bytes) -> None:
    instance = set_up(stream, "Plain").instance
    with RawStream(stub) as thief:
        reply = thief.ask(pb.LayerRequest(resume=pb.Resume(instance=instance, secret=secret)))
        assert reply.error.kind == "ProtocolError"
        assert "no such instance" in reply.error.message


def test_an_instance_whose_stream_lasts_cannot_be_resumed(stub: LayerServiceStub, stream: RawStream) -> None:
    result = set_up(stream, "Plain")
    with RawStream(stub) as second:
        resume = pb.Resume(instance=result.instance, secret=result.secret)
        assert "has not ended" in second.ask(pb.LayerRequest(resume=resume)).error.message
    assert top_data(stream, stream.ask(pb.LayerRequest(sequence=2, forward=pb.Forward()))) == [2, 4]


def test_a_chunk_where_none_is_due_ends_the_stream(stream: RawStream) -> None:
    set_up(stream, "Plain")
    reply = stream.ask(chunk(TWO_VALUES, 2))
    assert (reply.sequence, reply.error.kind) == (0, "ProtocolError")
    assert "none is due" in reply.error.message
    with pytest.raises(StopIteration):
        stream.next()


@pytest.mark.parametrize(
    ("follower", "says"),
    [
        (chunk(TWO_VALUES + b"!"), "then a chunk of 9"),
        (chunk(b""), "no more"),
        (chunk(TWO_VALUES, 2), "a chunk is due, not 'chunk'"),
        (pb.LayerRequest(sequence=1, forward=pb.Forward()), "a chunk is due, not 'forward'"),
    ],
)
def test_contents_that_are_not_as_announced_are_a_protocol_error(
    stream: RawStream, follower: pb.LayerRequest, says: str
) -> None:
    reply = stream.ask(setup_request("Plain"), follower)
    assert reply.error.kind == "ProtocolError"
    assert says in reply.error.message


def test_contents_of_a_segment_that_was_never_announced_are_a_protocol_error(stream: RawStream) -> None:
    request = setup_request("Plain")
    request.contents[0].segment = 6
    reply = stream.ask(request, chunk(TWO_VALUES))
    assert reply.error.kind == "ProtocolError"
    assert "segment 6, which was never announced" in reply.error.message


@pytest.mark.parametrize("size_bytes", [7, 2**40, 2**63])
def test_a_segment_of_an_impossible_size_is_a_protocol_error(stream: RawStream, size_bytes: int) -> None:
    request = setup_request("Plain")
    request.new_segments[0].size_bytes = size_bytes
    reply = stream.ask(request, chunk(TWO_VALUES))
    assert reply.error.kind == "ProtocolError"
    assert f"a segment of {size_bytes} bytes" in reply.error.message


def test_a_request_out_of_order_is_refused_and_the_next_in_order_runs(stream: RawStream) -> None:
    set_up(stream, "Counts")
    for sequence in (3, 7, 2**63):
        reply = stream.ask(pb.LayerRequest(sequence=sequence, forward=pb.Forward()))
        assert (reply.sequence, reply.error.kind) == (sequence, "ProtocolError")
        assert "expected 2" in reply.error.message
    assert top_data(stream, stream.ask(pb.LayerRequest(sequence=2, forward=pb.Forward()))) == [1, 1]


@pytest.mark.parametrize(
    "blob",
    [
        pb.BlobState(index=9, shaped=True, shape=[2], capacity=2),
        pb.BlobState(index=0, shaped=True, shape=[3], capacity=2),
        pb.BlobState(index=0, shaped=True, shape=[-1], capacity=2),
        pb.BlobState(index=0, shaped=True, shape=[1] * 40, capacity=2),
        pb.BlobState(index=0, shaped=True, shape=[2], capacity=2**40),
        pb.BlobState(index=0, shaped=True, shape=[2], capacity=100, data=pb.MemoryHandle(segment=2)),
        pb.BlobState(index=0, shaped=True, shape=[2], capacity=2, data=pb.MemoryHandle(segment=8)),
    ],
)
def test_a_blob_that_cannot_be_ends_the_session_but_not_the_server(stream: RawStream, blob: pb.BlobState) -> None:
    set_up(stream, "Plain")
    reply = stream.ask(pb.LayerRequest(sequence=2, blobs=[blob], forward=pb.Forward()))
    assert reply.error.kind == "ProtocolError"


def test_setup_with_blobs_numbered_with_gaps_is_a_protocol_error(stream: RawStream) -> None:
    request = setup_request("Plain")
    request.setup.top[0] = 5
    reply = stream.ask(request, chunk(TWO_VALUES))
    assert reply.error.kind == "ProtocolError"
    assert "without gaps" in reply.error.message


def test_a_hostile_session_does_not_end_the_worker_that_others_use(stub: LayerServiceStub, stream: RawStream) -> None:
    pid = set_up(stream, "Counts", worker="common").pid
    with RawStream(stub) as hostile:
        assert set_up(hostile, "Plain", worker="common").pid == pid
        bad = pb.BlobState(index=9, shaped=True, shape=[2], capacity=2)
        assert hostile.ask(pb.LayerRequest(sequence=2, blobs=[bad], forward=pb.Forward())).error.kind == "ProtocolError"
    assert top_data(stream, stream.ask(pb.LayerRequest(sequence=2, forward=pb.Forward()))) == [1, 1]


def test_a_message_over_the_limit_ends_its_call_only(stub: LayerServiceStub, stream: RawStream) -> None:
    set_up(stream, "Counts")
    with RawStream(stub) as greedy:
        greedy.send(pb.LayerRequest(sequence=1, setup=pb.Setup(param_str="x" * (65 * 1024 * 1024))))
        with pytest.raises(grpc.RpcError) as caught:
            greedy.next()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert top_data(stream, stream.ask(pb.LayerRequest(sequence=2, forward=pb.Forward()))) == [1, 1]


def test_a_setup_for_shared_memory_without_a_registration_is_refused(
    stream: RawStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = setup_request("Plain")
    request.setup.transport = pb.SHARED
    request.setup.rendezvous = b"nobody"
    request.timeout_s = 0.2
    reply = stream.ask(request, chunk(TWO_VALUES))
    assert reply.error.kind == "TransportError"
    assert "did not come to the broker" in reply.error.message


@pytest.mark.parametrize("layer", ["WaitsInSetup", "Plain"])
def test_a_client_that_goes_in_the_middle_of_setup_leaves_nothing(
    stub: LayerServiceStub, tmp_path: Path, layer: str
) -> None:
    gate = Gate(tmp_path)
    for _ in range(5):
        with RawStream(stub) as stream:
            stream.send(setup_request(layer, param_str=str(gate.path)), chunk(TWO_VALUES))
            if layer == "WaitsInSetup":
                gate.wait_started()


def test_a_client_that_goes_before_its_contents_leaves_nothing(stub: LayerServiceStub) -> None:
    with RawStream(stub) as stream:
        stream.send(setup_request("Plain"))
        assert wait_for(lambda: len(worker_pids(stub)) == 1)
        stream.half_close()
        with pytest.raises(StopIteration):
            stream.next()
