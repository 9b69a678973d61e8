"""Memory under a blob: zeroed, shared by descriptor, and opened only where it can be trusted."""

import fcntl
import gc
import mmap
import os
import resource
import socket
from collections.abc import Iterator

import numpy as np
import pytest

from farlayer.blobs.segment import HeapSegment, SharedSegment, heap, shared
from farlayer.protos.errors import BlobError, ProtocolError

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


def open_descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def no_descriptor_stays() -> Iterator[None]:
    before = open_descriptors()
    yield
    assert open_descriptors() == before


def memfd(size_bytes: int, seals: int = SEALS) -> int:
    descriptor = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size_bytes)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


@pytest.mark.parametrize("size_bytes", [0, 4, 4096, 4100, 1_000_000])
@pytest.mark.parametrize("allocate", [heap, shared])
def test_a_segment_is_zero_and_of_its_size(allocate: type[HeapSegment], size_bytes: int) -> None:
    segment = allocate(size_bytes)
    assert (segment.size_bytes, segment.array.nbytes, len(segment.view)) == (size_bytes,) * 3
    assert not segment.array.any()
    assert segment.array.flags.writeable


def test_two_openings_of_a_descriptor_are_one_memory() -> None:
    segment = SharedSegment.create(16)
    again = SharedSegment.open(os.dup(segment.descriptor), 16)
    segment.array[...] = [1, 2, 3, 4]
    np.testing.assert_array_equal(again.array, [1, 2, 3, 4])
    again.view[:4] = np.float32(9).tobytes()
    assert segment.array[0] == 9


def test_a_segment_cannot_be_grown_shrunk_or_unsealed() -> None:
    segment = SharedSegment.create(8)
    for size_bytes in (4, 12):
        with pytest.raises(PermissionError):
            os.ftruncate(segment.descriptor, size_bytes)
    with pytest.raises(PermissionError):
        fcntl.fcntl(segment.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


def test_a_descriptor_is_not_inherited_by_programs() -> None:
    assert not os.get_inheritable(SharedSegment.create(8).descriptor)


def test_memory_lasts_as_long_as_an_array_over_it() -> None:
    segment = SharedSegment.create(4096)
    array = segment.array[:10]
    array[...] = 5
    del segment
    gc.collect()
    assert array.sum() == 50


def test_an_unsealed_memfd_is_refused() -> None:
    with pytest.raises(ProtocolError, match="not sealed against shrinking"):
        SharedSegment.open(memfd(8, 0), 8)
    with pytest.raises(ProtocolError, match="not sealed against shrinking"):
        SharedSegment.open(memfd(8, fcntl.F_SEAL_GROW), 8)


@pytest.mark.parametrize(("actual", "announced"), [(8, 16), (16, 8), (0, 8), (8, 0), (7, 7), (8, 2**63)])
def test_another_size_than_announced_is_refused(actual: int, announced: int) -> None:
    with pytest.raises(ProtocolError, match=f"announced with {announced} bytes has {actual}"):
        SharedSegment.open(memfd(actual), announced)


def test_a_descriptor_that_is_no_memfd_is_refused() -> None:
    reading, writing = os.pipe()
    with pytest.raises(ProtocolError, match="no memfd"):
        SharedSegment.open(reading, 8)
    with pytest.raises(ProtocolError, match="no memfd"):
        SharedSegment.open(writing, 8)
    with pytest.raises(ProtocolError, match="no memfd"):
        SharedSegment.open(socket.socket().detach(), 8)
    with open(__file__, "rb") as file, pytest.raises(ProtocolError, match=r"no memfd|not sealed"):
        SharedSegment.open(os.dup(file.fileno()), os.fstat(file.fileno()).st_size)
    with pytest.raises(ProtocolError, match="no memfd"):
        SharedSegment.open(9999, 8)


def test_a_read_only_descriptor_is_refused() -> None:
    descriptor = memfd(8)
    reading = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
    os.close(descriptor)
    with pytest.raises(ProtocolError, match="cannot be mapped"):
        SharedSegment.open(reading, 8)


def test_where_mapping_fails_the_descriptor_is_closed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[int] = []
    close = os.close

    def note(descriptor: int) -> None:
        closed.append(descriptor)
        close(descriptor)

    def fail(*_: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", fail)
    monkeypatch.setattr(os, "close", note)
    descriptor = memfd(8)
    with pytest.raises(BlobError, match=r"cannot map a shared segment of 8 bytes[^$]*Remedy: raise the limit"):
        SharedSegment.open(descriptor, 8)
    assert closed == [descriptor]
    with pytest.raises(BlobError, match="cannot make a shared segment of 8 bytes"):
        SharedSegment.create(8)
    gc.collect()
    assert len(closed) == 2, "each once: a second close could hit a descriptor that was opened meanwhile"


def test_without_descriptors_the_error_says_what_to_raise() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = max(int(name) for name in os.listdir("/proc/self/fd")) + 1
    filler = [os.dup(2) for _ in range(lowest - open_descriptors() + 1)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(*filler, lowest), hard))
    try:
        with pytest.raises(BlobError) as caught:
            [SharedSegment.create(8) for _ in range(10)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in filler:
            os.close(descriptor)
    assert "ulimit -n" in caught.value.remedy
    caught.value.__traceback__ = None


@pytest.mark.parametrize("size_bytes", [-4, 2**63, 2**70])
def test_impossible_sizes_are_a_blob_error(size_bytes: int) -> None:
    with pytest.raises(BlobError):
        SharedSegment.create(size_bytes)
    with pytest.raises(BlobError):
        HeapSegment(size_bytes)
