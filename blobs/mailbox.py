"""Messages with descriptors between two processes of one host, over one SEQPACKET socket."""

from __future__ import annotations

import array
import errno
import os
import socket
import struct
import time
from typing import Sequence

from farlayer.protos.errors import DeadlineError, FarlayerError, ProtocolError

MAX_MESSAGE_BYTES = 256 * 1024 * 1024
"""Larger messages are refused: blobs travel beside messages, never in them."""

MAX_DESCRIPTORS = 8192
"""Of one letter."""
_DATAGRAM_DESCRIPTORS = 200
"""Of one datagram; the kernel takes at most 253. A letter with more begins with datagrams that hold nothing else."""

# A letter is one datagram: this header, then the message. A message over _INLINE_BYTES would not fit into every
# socket buffer: it lies in a memfd instead, which is the last descriptor of the letter.
_HEADER = struct.Struct("<BI")
_INLINE, _SPILLED, _MORE = 0, 1, 2
_INLINE_BYTES = 60 * 1024
_DESCRIPTOR_BYTES = array.array("i").itemsize


class MailboxClosedError(FarlayerError):
    """The other end closed the mailbox or died."""

    wire_status = "UNAVAILABLE"


class Mailbox:
    """One end of a socket pair that carries letters: a message of bytes and the descriptors that belong to it.

    Letters arrive whole and in order. The end of the other process is seen at once, as MailboxClosedError.

    Args:
        sock: a connected SEQPACKET unix socket; owned by the mailbox from here on.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = bytearray(_HEADER.size + _INLINE_BYTES)
        self._view = memoryview(self._buffer)
        self._ancillary_bytes = socket.CMSG_SPACE((_DATAGRAM_DESCRIPTORS + 1) * _DESCRIPTOR_BYTES)

    @classmethod
    def pair(cls) -> tuple[Mailbox, Mailbox]:
        """Makes two connected mailboxes."""
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(left), cls(right)

    @classmethod
    def connect(cls, path: str) -> Mailbox:
        """Connects to a listening SEQPACKET socket; "@name" is an abstract name.

        Raises:
            OSError: nobody listens there.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            sock.connect(socket_name(path))
        except OSError:
            sock.close()
            raise
        return cls(sock)

    @classmethod
    def from_descriptor(cls, descriptor: int) -> Mailbox:
        """Takes over a descriptor that another process sent or left open.

        Raises:
            ProtocolError: it is not a SEQPACKET unix socket; the descriptor is closed.
        """
        try:
            sock = socket.socket(fileno=descriptor)
        except OSError as error:
            os.close(descriptor)
            raise ProtocolError("a descriptor came that is no socket, where a mailbox was expected") from error
        if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_SEQPACKET:
            sock.close()
            raise ProtocolError("a socket came that is no SEQPACKET unix socket, where a mailbox was expected")
        sock.setblocking(True)
        return cls(sock)

    def fileno(self) -> int:
        """The socket's descriptor, for select and for handing it to another process."""
        return self._socket.fileno()

    def detach(self) -> int:
        """Gives the descriptor away; the mailbox is unusable afterwards."""
        return self._socket.detach()

    def close(self) -> None:
        """Closes this end; the other one sees MailboxClosedError."""
        self._socket.close()

    def shutdown(self) -> None:
        """Wakes whoever waits in receive, in this process too, with MailboxClosedError."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # not connected any more, which is what was wanted

    def send(self, message: bytes, descriptors: Sequence[int] = ()) -> None:
        """Sends one letter. The descriptors are duplicated into the other process and stay open here.

        Raises:
            MailboxClosedError: the other end is gone.
            ProtocolError: message or number of descriptors over the limits.
        """
        if len(descriptors) > MAX_DESCRIPTORS or len(message) > MAX_MESSAGE_BYTES:
            raise ProtocolError(
                f"a letter of {len(message)} bytes with {len(descriptors)} descriptors is over the limits of "
                f"{MAX_MESSAGE_BYTES} bytes and {MAX_DESCRIPTORS} descriptors"
            )
        while len(descriptors) > _DATAGRAM_DESCRIPTORS:
            self._send(_HEADER.pack(_MORE, 0), b"", descriptors[:_DATAGRAM_DESCRIPTORS])
            descriptors = descriptors[_DATAGRAM_DESCRIPTORS:]
        if len(message) <= _INLINE_BYTES:
            self._send(_HEADER.pack(_INLINE, len(message)), message, descriptors)
            return
        spill = os.memfd_create("farlayer-message", os.MFD_CLOEXEC)
        try:
            with open(spill, "wb", closefd=False) as stream:
                stream.write(message)
            self._send(_HEADER.pack(_SPILLED, len(message)), b"", [*descriptors, spill])
        finally:
            os.close(spill)

    def _send(self, header: bytes, message: bytes, descriptors: Sequence[int]) -> None:
        ancillary = []
        if descriptors:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        try:
            self._socket.sendmsg([header, message], ancillary, socket.MSG_NOSIGNAL)
        except OSError as error:
            if error.errno in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF):
                raise MailboxClosedError("the other end of the mailbox is gone") from error
            raise

    def receive(self, timeout_s: float | None = None) -> tuple[bytes, list[int]]:
        """Waits for one letter.

        Args:
            timeout_s: None waits for ever.

        Returns:
            The message, and its descriptors, owned by the caller.

        Raises:
            MailboxClosedError: the other end is gone and everything it sent was received.
            DeadlineError: nothing came in time.
            ProtocolError: what came is no letter. Its descriptors are closed.
        """
        descriptors: list[int] = []
        try:
            while True:
                before = len(descriptors)
                kind, length, size = self._receive_part(timeout_s, descriptors)
                if kind == _INLINE and length == size:
                    return bytes(self._view[_HEADER.size : _HEADER.size + size]), descriptors
                if kind == _SPILLED and descriptors:
                    return _read_spill(descriptors.pop(), length), descriptors
                if kind != _MORE or length or size or not before < len(descriptors) <= MAX_DESCRIPTORS:
                    raise ProtocolError(f"a letter came with a wrong header: kind {kind}, {length} of {size} bytes")
        except FarlayerError:
            close_all(descriptors)
            raise

    def _receive_part(self, timeout_s: float | None, descriptors: list[int]) -> tuple[int, int, int]:
        """Takes one datagram into the buffer, and its descriptors. Returns kind, and length as told and as it is."""
        size, ancillary, flags = self._receive_datagram(timeout_s)
        descriptors += _descriptors_in(ancillary)
        if flags & socket.MSG_CTRUNC:
            raise ProtocolError(
                "descriptors of a letter could not be taken: too many, or the limit on open files is reached",
                remedy="raise the limit on open files (ulimit -n)",
            )
        if flags & socket.MSG_TRUNC:
            raise ProtocolError("a letter came that is larger than any that is sent")
        if size < _HEADER.size:
            raise ProtocolError(f"a letter of {size} bytes came, shorter than its header")
        kind, length = _HEADER.unpack_from(self._buffer)
        return kind, length, size - _HEADER.size

    def _receive_datagram(self, timeout_s: float | None) -> tuple[int, list[tuple[int, int, bytes]], int]:
        started = time.monotonic()
        try:
            self._socket.settimeout(None if timeout_s is None else max(timeout_s, 1e-6))
            size, ancillary, flags, _ = self._socket.recvmsg_into(
                [self._buffer], self._ancillary_bytes, socket.MSG_CMSG_CLOEXEC
            )
        except TimeoutError as error:
            waited = time.monotonic() - started
            raise DeadlineError(f"no answer within {waited:.3g} s") from error
        except OSError as error:
            if error.errno in (errno.ECONNRESET, errno.ENOTCONN, errno.EBADF):
                raise MailboxClosedError("the other end of the mailbox is gone") from error
            raise
        if size == 0 and not ancillary:
            raise MailboxClosedError("the other end of the mailbox is gone")
        return size, ancillary, flags


def socket_name(path: str) -> str:
    """The name of a unix socket for bind and connect, where "@name" means an abstract one."""
    return "\0" + path[1:] if path.startswith("@") else path


def close_all(descriptors: Sequence[int]) -> None:
    """Closes descriptors that came with a letter that nobody will use."""
    for descriptor in descriptors:
        os.close(descriptor)


def _descriptors_in(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(payload[: len(payload) - len(payload) % _DESCRIPTOR_BYTES])
    return list(found)


def _read_spill(descriptor: int, length: int) -> bytes:
    """Reads a spilled message and closes its descriptor. Reads, never maps: the sender could shrink the file."""
    try:
        if length > MAX_MESSAGE_BYTES or os.fstat(descriptor).st_size != length:
            raise ProtocolError(
                f"a spilled message announced with {length} bytes has another size or is over the limit"
            )
        chunks = []
        offset = 0
        while offset < length:
            chunk = os.pread(descriptor, length - offset, offset)
            if not chunk:
                raise ProtocolError(f"a spilled message of {length} bytes ended after {offset}")
            chunks.append(chunk)
            offset += len(chunk)
        return b"".join(chunks)
    except OSError as error:
        raise ProtocolError(f"a spilled message cannot be read: {error}") from error
    finally:
        os.close(descriptor)
