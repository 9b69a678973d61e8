"""Requests of one session, message by message: what is answered, and what ends the session."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlayer.blobs.segment import HeapSegment, heap
from farlayer.protos import layer_service_pb2 as pb
from farlayer.protos.errors import ProtocolError
from farlayer.protos.layer_service_pb2 import LayerReply, LayerRequest
from farlayer.protos.values import from_wire, to_wire
from farlayer.worker.service import LayerSessionService
from tests.remote_support import layers_on_path


@pytest.fixture(autouse=True, scope="module")
def layers() -> Iterator[None]:
    with layers_on_path():
        yield


def setup_request(layer: str, module: str = "contract_layers") -> LayerRequest:
    """Setup with one bottom of two values and one top."""
    return LayerRequest(
        sequence=1,
        new_segments=[pb.SegmentOffer(segment=2, size_bytes=8)],
        blobs=[pb.BlobState(index=0, shaped=True, shape=[2], capacity=2, data=pb.MemoryHandle(segment=2))],
        setup=pb.Setup(layer="l", module=module, type=layer, bottom=[0], top=[1]),
    )


def set_up(layer: str) -> tuple[LayerSessionService, HeapSegment, LayerReply]:
    service, memory = LayerSessionService(heap), HeapSegment(8)
    memory.array[...] = [1, 2]
    reply, _ = service.answer(setup_request(layer), [memory])
    return service, memory, reply


def test_forward_answers_with_the_memory_of_its_top() -> None:
    service, _, reply = set_up("Double")
    assert (reply.sequence, reply.setup.pid > 0, [state.shaped for state in reply.blobs]) == (1, True, [False])
    reply, (memory,) = service.answer(LayerRequest(sequence=2, forward=pb.Forward()), [])
    (top,) = reply.blobs
    assert (top.index, list(top.shape)) == (1, [2])
    assert reply.new_segments[0].segment == top.data.segment
    np.testing.assert_array_equal(memory.array, [2, 4])
    reply, new = service.answer(LayerRequest(sequence=3, forward=pb.Forward()), [])
    assert (list(reply.blobs), new) == ([], [])
    assert reply.user_seconds > 0


def test_params_are_told_once_with_their_place_in_the_table() -> None:
    service, _, reply = set_up("CountsInParams")
    _, param = reply.blobs
    assert (param.index, param.is_param, list(param.shape)) == (2, True, [2, 2])
    reply, _ = service.answer(LayerRequest(sequence=2, reshape=pb.Reshape()), [])
    assert [state.index for state in reply.blobs] == [1]


def test_values_and_attributes_travel_as_plain_values() -> None:
    service, _, _ = set_up("OwnAttributes")
    request = LayerRequest(sequence=2, invoke=pb.Invoke(method="twice", args=[to_wire(3)]))
    assert from_wire(service.answer(request, [])[0].value) == [3, 3]
    request = LayerRequest(sequence=3, state=pb.State(set={"total": to_wire(2.5)}, get=["total"]))
    assert from_wire(service.answer(request, [])[0].value) == {"total": 2.5}


def test_an_error_of_user_code_is_in_the_reply() -> None:
    service, _, _ = set_up("Exits")
    reply, _ = service.answer(LayerRequest(sequence=2, forward=pb.Forward()), [])
    assert (reply.sequence, reply.error.kind, reply.error.method) == (2, "LayerError", "forward")
    assert reply.error.exception_types[0] == "builtins.SystemExit"


def test_ctrl_c_is_meant_for_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    service, _, _ = set_up("Double")

    def interrupt(self: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("farlayer.worker.instance.Instance.forward", interrupt)
    with pytest.raises(KeyboardInterrupt):
        service.answer(LayerRequest(sequence=2, forward=pb.Forward()), [])


def test_the_first_request_must_be_setup() -> None:
    with pytest.raises(ProtocolError, match="first request of a session must be Setup"):
        LayerSessionService(heap).answer(LayerRequest(sequence=1, forward=pb.Forward()), [])


def test_setup_comes_once() -> None:
    service, memory, _ = set_up("Double")
    with pytest.raises(ProtocolError, match="Setup came twice"):
        service.answer(setup_request("Double"), [memory])


@pytest.mark.parametrize(("bottom", "top"), [([1], []), ([0, 2], [3]), ([2**31], []), (range(5000), [])])
def test_blobs_are_numbered_from_0_without_gaps_and_not_too_many(bottom: list[int], top: list[int]) -> None:
    setup = pb.Setup(layer="l", module="contract_layers", type="Double", bottom=bottom, top=top)
    with pytest.raises(ProtocolError, match="without gaps"):
        LayerSessionService(heap).answer(LayerRequest(sequence=1, setup=setup), [])


@pytest.mark.parametrize("call", [{}, {"resume": pb.Resume()}, {"chunk": pb.Chunk()}])
def test_calls_that_are_not_for_workers_end_the_session(call: dict[str, pb.Resume | pb.Chunk]) -> None:
    service, _, _ = set_up("Double")
    with pytest.raises(ProtocolError, match="a worker cannot be asked for"):
        service.answer(LayerRequest(sequence=2, **call), [])  # type: ignore[arg-type]


@pytest.mark.parametrize("phase", [2, -1])
def test_a_phase_that_there_is_not_is_a_protocol_error(phase: int) -> None:
    request = setup_request("Double")
    request.setup.phase = phase  # type: ignore[assignment]  # open enums hold any number
    with pytest.raises(ProtocolError):
        LayerSessionService(heap).answer(request, [HeapSegment(8)])


def test_a_value_that_is_none_is_a_protocol_error() -> None:
    service, _, _ = set_up("OwnAttributes")
    with pytest.raises(ProtocolError):
        service.answer(LayerRequest(sequence=2, invoke=pb.Invoke(method="twice", args=[pb.Invoke().args.add()])), [])


def test_after_release_there_is_no_layer() -> None:
    service, _, _ = set_up("Double")
    reply, _ = service.answer(LayerRequest(sequence=2, release=pb.Release()), [])
    assert not reply.HasField("error")
    reply, _ = service.answer(LayerRequest(sequence=3, forward=pb.Forward()), [])
    assert reply.error.kind == "LayerLoadError"


@given(st.binary(max_size=60))
def test_no_message_does_more_than_a_typed_error(garbage: bytes) -> None:
    service, _, _ = set_up("Double")
    request = LayerRequest()
    try:
        request.ParseFromString(garbage)
    except Exception:  # noqa: BLE001  # what the loop answers with a ProtocolError
        return
    if request.WhichOneof("call") in {"invoke", "state"}:
        return
    try:
        service.answer(request, [HeapSegment(min(offer.size_bytes, 64) // 4 * 4) for offer in request.new_segments])
    except ProtocolError:
        pass
