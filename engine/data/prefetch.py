"""Batches read ahead by a thread: as many as a layer asks for, in buffers that go round."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.scratch import Scratch
from farlayer.protos.errors import InputError

logger = logging.getLogger(__name__)

_END_S = 2.0
"""How long the end of a thread is waited for: it looks after every image, but may hang in a read from a dead disk."""


class Batch:
    """One batch of data and labels; its memory is kept from one use to the next.

    Attributes:
        data: (batch size, ...), float32.
        labels: (batch size,), float32.
    """

    def __init__(self) -> None:
        self._memory = Scratch()
        self.reshape((0,))

    def reshape(self, shape: tuple[int, ...]) -> None:
        """Gives data a shape, and labels its first axis; contents are whatever was there."""
        self.data: NDArray[np.float32] = self._memory.array("data", shape)
        self.labels: NDArray[np.float32] = self._memory.array("labels", shape[:1])


class BatchSource(Protocol):
    """Where batches come from. Only one thread at a time uses it."""

    def shape(self) -> tuple[int, ...]:
        """The shape of the first batch's data. Holds nothing open afterwards, so that the process may fork.

        Raises:
            InputError: the source cannot be read.
        """

    def fill(self, batch: Batch) -> Iterator[None]:
        """Fills the next batch; yields after every item, where whoever fills it may stop for good.

        Raises:
            InputError: the source cannot be read.
        """

    def close(self) -> None:
        """Gives back what is open."""


class Prefetcher:
    """Gives the batches of a source in order, filled ahead by a thread that the first one starts.

    A process may fork before that, not after it. The thread ends with `close`, with the Prefetcher itself, or with the
    interpreter, which never waits long for it. Once the source failed, every further batch raises the same error.

    Args:
        source: where batches come from; the Prefetcher closes it.
        depth: how many batches are filled ahead; 0 for none, and no thread.
        name: of the thread.
    """

    def __init__(self, source: BatchSource, depth: int, name: str) -> None:
        self._depth = depth
        self._name = name
        self._line = _Line(source)
        self._end = weakref.finalize(self, self._line.end)

    @contextmanager
    def batch(self) -> Iterator[Batch]:
        """Gives the next batch, good inside `with`.

        Raises:
            InputError: the source cannot be read, this process was forked off, or the Prefetcher is closed.
        """
        line = self._line
        if line.is_ending:
            raise InputError("its data are closed", remedy="a net that was closed cannot run: build it again")
        if not line.pid:
            self._begin()
        if line.thread is None and line.ready.empty():
            line.step()
        batch = line.take()
        try:
            yield batch
        finally:
            line.free.put(batch)

    def close(self) -> None:
        """Ends the thread and closes the source."""
        self._end()

    def _begin(self) -> None:
        for _ in range(max(self._depth, 1)):
            self._line.free.put(Batch())
        self._line.pid = os.getpid()
        if self._depth:
            self._line.thread = threading.Thread(target=self._line.run, name=self._name, daemon=True)
            self._line.thread.start()


class _Line:
    """Batches on their way round: free, filled, ready, free again.

    The thread holds this and not the Prefetcher, so that one that is forgotten ends it.
    """

    def __init__(self, source: BatchSource) -> None:
        self.source = source
        self.free: SimpleQueue[Batch | None] = SimpleQueue()
        self.ready: SimpleQueue[Batch | Exception] = SimpleQueue()
        self.thread: threading.Thread | None = None
        self.pid = 0
        self.is_ending = False

    def run(self) -> None:
        """The thread: fills batches until it is told to end, or cannot."""
        try:
            while self.step():
                pass
        finally:
            self.source.close()

    def step(self) -> bool:
        """Fills the next free batch. Returns whether there can be another one."""
        batch = self.free.get()
        if batch is None:
            return False
        try:
            for _ in self.source.fill(batch):
                if self.is_ending:
                    return False
        except Exception as error:  # noqa: BLE001  # the boundary of the thread: raised where the batch is waited for
            self.ready.put(error)
            return False
        except BaseException:  # Ctrl-C, without a thread: the next call shall find the batch
            self.free.put(batch)
            raise
        self.ready.put(batch)
        return True

    def take(self) -> Batch:
        """Waits for the next batch that is ready."""
        if self.thread is not None and self.pid != os.getpid():
            raise InputError(
                "this process was forked off after its first batch was read, and the thread that reads stayed behind",
                remedy="fork before the first forward, or set data_param { prefetch: 0 }",
            )
        item = self.ready.get()
        if isinstance(item, Exception):
            self.ready.put(item)
            raise item
        return item

    def end(self) -> None:
        """Ends the thread, and waits for it; without one, closes the source."""
        self.is_ending = True
        if self.pid not in (0, os.getpid()):
            return  # what is open, and the thread, are another process's
        if self.thread is None:
            self.source.close()
        elif self.thread is not threading.current_thread():  # where the garbage collector ran in it
            self.free.put(None)
            self.thread.join(_END_S)
            if self.thread.is_alive():
                logger.warning("the thread '%s' reads for more than %g s: it is left behind", self.thread.name, _END_S)
