"""The worker's loop: sessions come and go, one that breaks the protocol ends alone, the server's end ends all."""

import gc
import os
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from farlayer.blobs.mailbox import Mailbox, MailboxClosedError, close_all
from farlayer.blobs.segment import SharedSegment
from farlayer.protos import layer_service_pb2 as pb
from farlayer.protos.errors import ProtocolError
from farlayer.protos.layer_service_pb2 import LayerReply, LayerRequest, OpenChannel
from farlayer.worker.loop import WorkerLoop, open_segments
from tests.remote_support import layers_on_path


@pytest.fixture
def open_channel() -> Iterator[Callable[[], Mailbox]]:
    """A loop in a thread of this process, and what opens a session with it."""
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    server, worker = Mailbox.pair()
    thread = threading.Thread(target=WorkerLoop(worker).run)
    channels = []

    def open_one() -> Mailbox:
        here, there = Mailbox.pair()
        channels.append(here)
        server.send(OpenChannel(instance="i").SerializeToString(), [there.fileno()])
        there.close()
        return here

    with layers_on_path():
        thread.start()
        yield open_one
        server.close()
        thread.join(10)
    assert not thread.is_alive()
    for channel in channels:
        with pytest.raises(MailboxClosedError):
            channel.receive(1)
        channel.close()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def ask(channel: Mailbox, request: LayerRequest, descriptors: list[int] | None = None) -> LayerReply:
    channel.send(request.SerializeToString(), descriptors or [])
    message, received = channel.receive(10)
    close_all(received)
    return LayerReply.FromString(message)


def set_up(channel: Mailbox) -> None:
    setup = pb.Setup(layer="l", module="contract_layers", type="Source", top=[0, 1])
    assert ask(channel, LayerRequest(sequence=1, setup=setup)).error.message == ""


def test_sessions_are_served_side_by_side(open_channel: Callable[[], Mailbox]) -> None:
    first, second = open_channel(), open_channel()
    set_up(first)
    set_up(second)
    for sequence in (2, 3, 4):
        for channel in (first, second):
            assert ask(channel, LayerRequest(sequence=sequence, forward=pb.Forward())).sequence == sequence
    first.close()
    assert ask(second, LayerRequest(sequence=5, forward=pb.Forward())).sequence == 5


@pytest.mark.parametrize(
    "break_it",
    [
        lambda channel: channel.send(b"\xff\xff no request"),
        lambda channel: channel.send(b"\xff\xff no request", [2, 2]),
        lambda channel: channel.send(LayerRequest(sequence=2).SerializeToString()),
        lambda channel: channel.send(LayerRequest(sequence=2, forward=pb.Forward()).SerializeToString(), [2]),
        lambda channel: channel.send(
            LayerRequest(
                sequence=2, forward=pb.Forward(), new_segments=[pb.SegmentOffer(segment=2, size_bytes=8)] * 2
            ).SerializeToString(),
            [2, 2],
        ),
        lambda channel: socket.socket(fileno=os.dup(channel.fileno())).send(b"\x09garbage"),
    ],
)
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_session_that_breaks_the_protocol_is_told_and_ended_alone(
    open_channel: Callable[[], Mailbox], break_it: Callable[[Mailbox], None]
) -> None:
    good, bad = open_channel(), open_channel()
    set_up(good)
    set_up(bad)
    break_it(bad)
    message, _ = bad.receive(10)
    assert LayerReply.FromString(message).error.kind == "ProtocolError"
    with pytest.raises(MailboxClosedError):
        bad.receive(10)
    assert ask(good, LayerRequest(sequence=2, forward=pb.Forward())).sequence == 2


def test_segments_are_opened_all_or_none() -> None:
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    good = SharedSegment.create(8)
    message = LayerReply(new_segments=[pb.SegmentOffer(segment=number, size_bytes=8) for number in (1, 3, 5)])
    descriptors = [os.dup(good.descriptor), os.memfd_create("unsealed"), os.dup(good.descriptor)]
    with pytest.raises(ProtocolError):
        open_segments(message, descriptors)
    with pytest.raises(ProtocolError, match="3 segments announced, 1 descriptors came"):
        open_segments(message, [os.dup(good.descriptor)])
    opened = open_segments(message, [os.dup(good.descriptor) for _ in range(3)])
    assert [segment.size_bytes for segment in opened] == [8, 8, 8]
    del opened, good
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
