"""Letters arrive whole and in order, with their descriptors; what is no letter is refused and leaks nothing."""

import gc
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlayer.blobs.mailbox import (
    MAX_DESCRIPTORS,
    MAX_MESSAGE_BYTES,
    Mailbox,
    MailboxClosedError,
    close_all,
)
from farlayer.protos.errors import DeadlineError, ProtocolError

HEADER = struct.Struct("<BI")


def open_descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def no_descriptor_stays() -> Iterator[None]:
    before = open_descriptors()
    yield
    assert open_descriptors() == before


@pytest.fixture
def pair(no_descriptor_stays: None) -> Iterator[tuple[Mailbox, Mailbox]]:
    left, right = Mailbox.pair()
    yield left, right
    left.close()
    right.close()


@pytest.fixture
def raw(no_descriptor_stays: None) -> Iterator[tuple[socket.socket, Mailbox]]:
    """A plain socket that can send anything, and the mailbox that gets it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mailbox = Mailbox(theirs)
    yield ours, mailbox
    ours.close()
    mailbox.close()


def send_raw(sock: socket.socket, datagram: bytes, descriptors: list[int]) -> None:
    socket.send_fds(sock, [datagram], descriptors)


def memfd(contents: bytes) -> int:
    descriptor = os.memfd_create("test")
    os.write(descriptor, contents)
    return descriptor


# --- letters ---


@pytest.mark.parametrize("size", [0, 1, 60 * 1024 - 1, 60 * 1024, 60 * 1024 + 1, 1_000_000, 20_000_000])
def test_letters_of_any_size_arrive_whole(pair: tuple[Mailbox, Mailbox], size: int) -> None:
    left, right = pair
    message = os.urandom(min(size, 1000)) * (size // 1000 + 1)
    left.send(message[:size])
    assert right.receive(5) == (message[:size], [])


def test_letters_arrive_in_order_both_ways(pair: tuple[Mailbox, Mailbox]) -> None:
    left, right = pair
    messages = [bytes([number]) * size for number, size in enumerate([5, 0, 70_000, 1, 100_000, 3])]
    for sender, receiver in ((left, right), (right, left)):
        for message in messages:
            sender.send(message)
        assert [receiver.receive(5)[0] for _ in messages] == messages


@pytest.mark.parametrize("size", [0, 10, 100_000])
@pytest.mark.parametrize("count", [1, 3, 200, 201, 401])
def test_descriptors_arrive_with_their_letter_in_order(pair: tuple[Mailbox, Mailbox], count: int, size: int) -> None:
    left, right = pair
    sent = [memfd(b"%d" % number) for number in range(count)]
    left.send(b"x" * size, sent)
    message, received = right.receive(5)
    assert len(message) == size
    assert [os.pread(descriptor, 10, 0) for descriptor in received] == [b"%d" % number for number in range(count)]
    assert not any(os.get_inheritable(descriptor) for descriptor in received)
    close_all([*sent, *received])


def test_too_many_descriptors_are_refused_before_sending(pair: tuple[Mailbox, Mailbox]) -> None:
    left, right = pair
    with pytest.raises(ProtocolError, match=f"with {MAX_DESCRIPTORS + 1} descriptors is over the limits"):
        left.send(b"", [2] * (MAX_DESCRIPTORS + 1))
    left.send(b"next")
    assert right.receive(5)[0] == b"next"


def test_a_message_over_the_limit_is_refused_before_sending(pair: tuple[Mailbox, Mailbox]) -> None:
    left, right = pair
    with pytest.raises(ProtocolError, match="over the limits"):
        left.send(bytes(MAX_MESSAGE_BYTES + 1))
    left.send(b"next")
    assert right.receive(5)[0] == b"next"


@given(st.lists(st.tuples(st.integers(0, 130_000), st.integers(0, 3)), max_size=4))
def test_any_mix_of_letters_arrives(letters: list[tuple[int, int]]) -> None:
    left, right = Mailbox.pair()
    try:
        for number, (size, count) in enumerate(letters):
            left.send(bytes([number]) * size, [2] * count)
        for number, (size, count) in enumerate(letters):
            message, descriptors = right.receive(5)
            assert message == bytes([number]) * size
            assert len(descriptors) == count
            close_all(descriptors)
    finally:
        left.close()
        right.close()


# --- ends and deadlines ---


def test_the_end_of_the_other_side_is_seen_at_once_after_what_it_sent(pair: tuple[Mailbox, Mailbox]) -> None:
    left, right = pair
    left.send(b"last words")
    left.close()
    assert right.receive(5)[0] == b"last words"
    for _ in range(2):
        with pytest.raises(MailboxClosedError):
            right.receive(5)
    with pytest.raises(MailboxClosedError):
        right.send(b"anybody?")


def test_the_end_wakes_who_waits(pair: tuple[Mailbox, Mailbox]) -> None:
    left, right = pair
    timer = threading.Timer(0.05, left.close)
    timer.start()
    started = time.monotonic()
    with pytest.raises(MailboxClosedError):
        right.receive(10)
    assert time.monotonic() - started < 1
    timer.join()


def test_shutdown_wakes_who_waits_in_this_process(pair: tuple[Mailbox, Mailbox]) -> None:
    left, _ = pair
    timer = threading.Timer(0.05, left.shutdown)
    timer.start()
    with pytest.raises(MailboxClosedError):
        left.receive(10)
    timer.join()
    left.shutdown()


def test_a_deadline_passes_and_the_mailbox_goes_on(pair: tuple[Mailbox, Mailbox]) -> None:
    left, right = pair
    started = time.monotonic()
    for timeout_s in (0.05, 0):
        with pytest.raises(DeadlineError, match="no answer within"):
            right.receive(timeout_s)
    assert 0.05 <= time.monotonic() - started < 1
    left.send(b"late")
    assert right.receive()[0] == b"late"


def test_a_closed_mailbox_says_so(pair: tuple[Mailbox, Mailbox]) -> None:
    left, _ = pair
    left.close()
    with pytest.raises(MailboxClosedError):
        left.send(b"")
    with pytest.raises(MailboxClosedError):
        left.receive(1)


# --- what is no letter ---


@pytest.mark.parametrize(
    "datagram",
    [
        b"\x00",
        b"\x00\x00\x00\x00",
        HEADER.pack(0, 3) + b"ab",
        HEADER.pack(0, 1) + b"ab",
        HEADER.pack(2, 2) + b"ab",
        HEADER.pack(2, 0) + b"ab",
        HEADER.pack(255, 2**32 - 1),
        HEADER.pack(1, 100_000),  # spilled, without a descriptor
        os.urandom(1000),
        b"\x00" * (61 * 1024),  # larger than any that is sent
    ],
    ids=[
        "1 byte",
        "4 bytes",
        "longer",
        "shorter",
        "more, with a length",
        "more, with a message",
        "kind 255",
        "no spill",
        "random",
        "large",
    ],
)
@pytest.mark.parametrize("count", [0, 2])
def test_a_datagram_that_is_no_letter_is_refused_and_its_descriptors_closed(
    raw: tuple[socket.socket, Mailbox], datagram: bytes, count: int
) -> None:
    sock, mailbox = raw
    send_raw(sock, datagram, [2] * count)
    with pytest.raises(ProtocolError):
        mailbox.receive(5)
    sock.send(HEADER.pack(0, 4) + b"next")
    assert mailbox.receive(5) == (b"next", [])


@pytest.mark.parametrize("announced", [0, 3, 5, 2**32 - 1, MAX_MESSAGE_BYTES + 1])
def test_a_spill_of_another_size_than_announced_is_refused(raw: tuple[socket.socket, Mailbox], announced: int) -> None:
    sock, mailbox = raw
    spill = memfd(b"1234")
    send_raw(sock, HEADER.pack(1, announced), [2, spill])
    os.close(spill)
    with pytest.raises(ProtocolError, match=f"announced with {announced} bytes"):
        mailbox.receive(5)


def test_a_spill_that_is_no_file_is_refused(raw: tuple[socket.socket, Mailbox]) -> None:
    sock, mailbox = raw
    for descriptor in (*os.pipe(), socket.socket().detach(), os.open("/", os.O_RDONLY)):
        size = os.fstat(descriptor).st_size
        send_raw(sock, HEADER.pack(1, size or 5), [descriptor])
        os.close(descriptor)
        with pytest.raises(ProtocolError):
            mailbox.receive(5)


def test_more_descriptors_than_any_letter_has_are_refused_and_closed(raw: tuple[socket.socket, Mailbox]) -> None:
    sock, mailbox = raw
    send_raw(sock, HEADER.pack(0, 0), [2] * 250)
    with pytest.raises(ProtocolError, match="descriptors of a letter could not be taken"):
        mailbox.receive(5)


def test_descriptors_that_are_followed_by_no_letter_are_closed(raw: tuple[socket.socket, Mailbox]) -> None:
    sock, mailbox = raw
    send_raw(sock, HEADER.pack(2, 0), [2] * 50)
    send_raw(sock, HEADER.pack(7, 0), [2])
    with pytest.raises(ProtocolError, match="wrong header"):
        mailbox.receive(5)


def test_descriptors_without_a_letter_are_closed_when_the_sender_goes(raw: tuple[socket.socket, Mailbox]) -> None:
    sock, mailbox = raw
    send_raw(sock, HEADER.pack(2, 0), [2] * 50)
    sock.close()
    with pytest.raises(MailboxClosedError):
        mailbox.receive(5)


@given(st.binary(max_size=200))
def test_no_datagram_does_more_than_a_typed_error(datagram: bytes) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        mailbox = Mailbox(theirs)
        try:
            send_raw(ours, datagram, [2])
            ours.shutdown(socket.SHUT_WR)
            message, descriptors = mailbox.receive(5)
            assert HEADER.pack(0, len(message)) + message == datagram
            close_all(descriptors)
        except (ProtocolError, MailboxClosedError):
            pass
        finally:
            mailbox.close()


# --- descriptors that become mailboxes ---


def test_a_descriptor_is_handed_on_as_a_mailbox(pair: tuple[Mailbox, Mailbox]) -> None:
    left, right = pair
    here, there = Mailbox.pair()
    left.send(b"", [there.fileno()])
    there.close()
    taken = Mailbox.from_descriptor(right.receive(5)[1][0])
    here.send(b"hello")
    assert taken.receive(5)[0] == b"hello"
    again = Mailbox.from_descriptor(taken.detach())
    again.send(b"back")
    assert here.receive(5)[0] == b"back"
    again.close()
    here.close()


def test_a_descriptor_that_is_no_mailbox_is_refused_and_closed() -> None:
    with pytest.raises(ProtocolError, match="no socket"):
        Mailbox.from_descriptor(memfd(b""))
    for family, kind in ((socket.AF_UNIX, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_STREAM)):
        with pytest.raises(ProtocolError, match="no SEQPACKET unix socket"):
            Mailbox.from_descriptor(socket.socket(family, kind).detach())


def test_connecting_to_nobody_is_an_os_error(tmp_path: os.PathLike[str]) -> None:
    for path in (f"{tmp_path}/nobody", "@farlayer-nobody-listens-here"):
        with pytest.raises(OSError, match=r"No such file|refused"):
            Mailbox.connect(path)
