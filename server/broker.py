"""Where descriptors change hands: a SEQPACKET socket beside the gRPC one."""

from __future__ import annotations

import logging
import os
import select
import socket
import stat
import threading

from google.protobuf.message import DecodeError

from farlayer.blobs.mailbox import Mailbox, MailboxClosedError, close_all, socket_name
from farlayer.blobs.segment import SharedSegment
from farlayer.protos.errors import DeadlineError, FarlayerError, InputError, ProtocolError, TransportError
from farlayer.protos.layer_service_pb2 import BrokerReply, BrokerRequest

logger = logging.getLogger(__name__)

_FIRST_LETTER_S = 10.0
"""A connection that says nothing for so long is closed."""
_MAX_GREETINGS = 64
"""Connections that have not said yet what they want."""
_MAX_WAITING = 1024
"""Connections that registered and whose Setup has not come yet."""


class Broker:
    """Answers canaries, and keeps the connections on which descriptors of instances will travel.

    Args:
        path: where the socket is made; an old one there is replaced. "@name" is an abstract name, which leaves no file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._registered: dict[bytes, Mailbox] = {}
        self._changed = threading.Condition()
        self._greetings = threading.BoundedSemaphore(_MAX_GREETINGS)

    def start(self) -> None:
        """Listens, and answers from a thread of its own.

        Raises:
            InputError: something that is no socket is at its path, or no socket can be made there.
        """
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._unlink()
        try:
            self._socket.bind(socket_name(self.path))
        except OSError as error:
            self._socket.close()
            raise InputError(
                f"cannot listen on '{self.path}', where descriptors are handed over: {error.strerror}",
                remedy="free that path, or listen elsewhere",
            ) from error
        if not self._is_abstract:
            os.chmod(self.path, 0o600)
        self._socket.listen(64)
        threading.Thread(target=self._accept, name="farlayer-broker", daemon=True).start()

    def close(self) -> None:
        """Stops listening and drops the connections that nobody took."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()
        self._unlink()
        with self._changed:
            for mailbox in self._registered.values():
                mailbox.close()
            self._registered.clear()

    @property
    def _is_abstract(self) -> bool:
        return self.path.startswith("@")

    def _unlink(self) -> None:
        if not self._is_abstract and is_socket(self.path):
            os.unlink(self.path)

    def take(self, rendezvous: bytes, timeout_s: float) -> Mailbox:
        """The connection that registered under this name; owned by the caller.

        Raises:
            TransportError: none did in time.
        """
        with self._changed:
            if self._changed.wait_for(lambda: rendezvous in self._registered, timeout_s):
                return self._registered.pop(rendezvous)
        raise TransportError("Setup asks for shared memory, but its sender did not come to the broker")

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return  # closed
            if not self._greetings.acquire(blocking=False):
                connection.close()  # somebody opens connections and says nothing
                continue
            threading.Thread(target=self._greet, args=(Mailbox(connection),), daemon=True).start()

    def _greet(self, mailbox: Mailbox) -> None:
        try:
            self._hear(mailbox)
        finally:
            self._greetings.release()

    def _hear(self, mailbox: Mailbox) -> None:
        try:
            message, descriptors = mailbox.receive(_FIRST_LETTER_S)
            request = _parse(message, descriptors)
            if request.WhichOneof("request") == "register":
                close_all(descriptors)
                self._register(request.register.rendezvous, mailbox)
                return
            reply = BrokerReply(error=_answer_canary(request.canary.nonce, descriptors))
            mailbox.send(reply.SerializeToString())
        except (MailboxClosedError, DeadlineError):
            pass
        except FarlayerError as error:
            logger.warning("a connection to the broker is closed: %s", error)
        mailbox.close()

    def _register(self, rendezvous: bytes, mailbox: Mailbox) -> None:
        with self._changed:
            self._forget_the_gone()
            if rendezvous in self._registered or len(self._registered) >= _MAX_WAITING:
                mailbox.send(BrokerReply(error="this name is taken, or too many wait").SerializeToString())
                mailbox.close()
                return
            mailbox.send(BrokerReply().SerializeToString())
            self._registered[rendezvous] = mailbox
            self._changed.notify_all()

    def _forget_the_gone(self) -> None:
        """Closes connections whose engine ended before its Setup came."""
        poll = select.poll()
        names = {mailbox.fileno(): name for name, mailbox in self._registered.items()}
        for descriptor in names:
            poll.register(descriptor, 0)  # hang-ups are told of unasked
        for descriptor, _ in poll.poll(0):
            self._registered.pop(names[descriptor]).close()


def is_socket(path: str) -> bool:
    """Whether there is a socket at that path: nothing else may be removed to make room for ours."""
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def _parse(message: bytes, descriptors: list[int]) -> BrokerRequest:
    try:
        return BrokerRequest.FromString(message)
    except DecodeError as error:
        close_all(descriptors)
        raise ProtocolError("what came at the broker is no BrokerRequest") from error


def _answer_canary(nonce: bytes, descriptors: list[int]) -> str:
    """Reads the nonce from the segment and writes its complement there. Returns what went wrong, or nothing."""
    if len(descriptors) != 1 or not nonce or len(nonce) % 4:
        close_all(descriptors)
        return "a canary comes with one segment and a nonce of whole float32 values"
    try:
        segment = SharedSegment.open(descriptors[0], len(nonce))
    except ProtocolError as error:
        return error.message
    view = segment.view
    if bytes(view) != nonce:
        return "the segment does not hold the nonce"
    view[:] = bytes(255 - byte for byte in nonce)
    return ""
