"""What a stream still has to send: bounded, so that a slow reader does not fill the server's memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

from farlayer.protos.layer_service_pb2 import LayerReply

WINDOW = 4
"""Messages that wait at most; with chunks of 1 MiB, more gain nothing."""


class StreamGoneError(Exception):
    """The stream ended; what is sent now reaches nobody."""


class Outbox:
    """Replies on their way from the threads that make them to the one that gRPC sends them from."""

    def __init__(self) -> None:
        self._waiting: deque[LayerReply] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._gone = False

    def put(self, reply: LayerReply) -> None:
        """Queues a reply; waits while WINDOW of them wait.

        Raises:
            StreamGoneError: the stream ended.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._gone or len(self._waiting) < WINDOW)
            if self._gone:
                raise StreamGoneError
            self._waiting.append(reply)
            self._changed.notify_all()

    def put_news(self, reply: LayerReply) -> None:
        """Queues a reply that nobody asked for; never waits, and may be lost with its stream."""
        with self._changed:
            self._waiting.append(reply)
            self._changed.notify_all()

    def close(self) -> None:
        """No more replies follow; those that wait are still sent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def drop(self) -> None:
        """The stream is gone."""
        with self._changed:
            self._gone = self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[LayerReply]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or bool(self._waiting))
                if not self._waiting:
                    return
                reply = self._waiting.popleft()
                self._changed.notify_all()
            yield reply
