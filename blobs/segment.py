"""One stretch of memory that may lie under a blob: on this process's heap, or shared between processes (memfd)."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import weakref
from typing import Callable, ClassVar

import numpy as np
from numpy.typing import NDArray

from farlayer.protos.errors import BlobError, ProtocolError

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_ITEM_BYTES = 4
_REMEDY = "raise the limit on open files (ulimit -n) or memory, or use --transport streamed"


class Segment:
    """A stretch of float32 memory. Zeroed when made; freed when the last array over it is gone.

    Attributes:
        size_bytes: its size, a multiple of 4.
        array: the whole segment as a 1-d float32 array, writable.
        shared: whether another process can be given this memory by descriptor.
    """

    shared: ClassVar[bool] = False

    def __init__(self, array: NDArray[np.float32]) -> None:
        self.array = array
        self.size_bytes = array.nbytes

    @property
    def view(self) -> memoryview:
        """The whole segment as bytes, writable."""
        return self.array.data.cast("B") if self.size_bytes else memoryview(bytearray())  # empty ones have no cast


class HeapSegment(Segment):
    """Memory of this process alone."""

    def __init__(self, size_bytes: int) -> None:
        try:
            super().__init__(np.zeros(size_bytes // _ITEM_BYTES, np.float32))
        except (MemoryError, ValueError) as error:
            raise BlobError(f"cannot take {size_bytes} bytes of memory for a blob") from error


class SharedSegment(Segment):
    """Memory behind a sealed memfd: nameless, counted by the kernel, gone with its last holder.

    Make one with `SharedSegment.create` or, from a descriptor that another process sent, with `SharedSegment.open`.

    Attributes:
        descriptor: the memfd, owned by this object and closed with it. Send it, never close it.
    """

    shared: ClassVar[bool] = True

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        if size_bytes:
            # mmap keeps a descriptor of its own, and unmaps when the last array over it is gone.
            mapped = mmap.mmap(descriptor, size_bytes)
            array = np.frombuffer(mapped, np.float32, size_bytes // _ITEM_BYTES)
        else:
            array = np.zeros(0, np.float32)
        super().__init__(array)
        self.descriptor = descriptor
        self._closer = weakref.finalize(self, os.close, descriptor)  # last: where the above fails, the caller closes

    @classmethod
    def create(cls, size_bytes: int) -> SharedSegment:
        """Makes a zeroed segment of `size_bytes`, sealed against growing and shrinking.

        Raises:
            BlobError: the system gives no such memory (limits on descriptors or memory).
        """
        descriptor = -1
        try:
            descriptor = os.memfd_create("farlayer", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(descriptor, size_bytes)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
            return cls(descriptor, size_bytes)
        except (OSError, ValueError, OverflowError) as error:
            if descriptor >= 0:
                os.close(descriptor)
            raise BlobError(
                f"cannot make a shared segment of {size_bytes} bytes: {error}",
                remedy=_REMEDY,
            ) from error

    @classmethod
    def open(cls, descriptor: int, size_bytes: int) -> SharedSegment:
        """Maps the memory behind a descriptor that another process sent; takes the descriptor over.

        Raises:
            BlobError: this process may not open or map more; the descriptor is closed.
            ProtocolError: not a memfd, not sealed against shrinking (a peer that shrinks it later would end this
                process by SIGBUS), or not of the announced size. The descriptor is closed.
        """
        try:
            _check_descriptor(descriptor, size_bytes)
            return cls(descriptor, size_bytes)
        except (OSError, ValueError, OverflowError) as error:
            _close_quietly(descriptor)
            if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                raise BlobError(
                    f"cannot map a shared segment of {size_bytes} bytes: {error.strerror}", remedy=_REMEDY
                ) from error
            raise ProtocolError(f"a segment of {size_bytes} bytes cannot be mapped: {error}") from error
        except ProtocolError:
            _close_quietly(descriptor)
            raise


def _check_descriptor(descriptor: int, size_bytes: int) -> None:
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError as error:
        raise ProtocolError("a descriptor came that is no memfd, so its memory cannot be trusted") from error
    if not seals & fcntl.F_SEAL_SHRINK:
        raise ProtocolError("a segment came that is not sealed against shrinking (expected F_SEAL_SHRINK)")
    actual = os.fstat(descriptor).st_size
    if actual != size_bytes or size_bytes % _ITEM_BYTES:
        raise ProtocolError(f"a segment announced with {size_bytes} bytes has {actual}")


def _close_quietly(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:
        pass


Allocator = Callable[[int], Segment]
"""Makes a zeroed segment of a size in bytes."""


def heap(size_bytes: int) -> Segment:
    """The allocator of blobs that stay in their process."""
    return HeapSegment(size_bytes)


def shared(size_bytes: int) -> Segment:
    """The allocator of blobs that another process of this host will see."""
    return SharedSegment.create(size_bytes)
