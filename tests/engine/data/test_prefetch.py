import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from farlayer.engine.data.prefetch import Batch, Prefetcher
from farlayer.protos.errors import InputError

forking_with_threads = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
LONG_S = 10.0  # whatever takes so long hangs


class Counting:
    """A source of batches that hold their number, and of errors."""

    def __init__(self, *, fails_at: int = -1, error: Exception | None = None, size: int = 2) -> None:
        self.number = 0
        self.items = 0
        self.closed = 0
        self.threads: set[str] = set()
        self.go_on = threading.Event()
        self.go_on.set()
        self._fails_at = fails_at
        self._error = error or InputError("it is damaged", remedy="make it again")
        self._size = size

    def shape(self) -> tuple[int, ...]:
        return (2, self._size)

    def fill(self, batch: Batch) -> Iterator[None]:
        self.threads.add(threading.current_thread().name)
        if self.number == self._fails_at:
            raise self._error
        batch.reshape(self.shape())
        for index in range(2):
            assert self.go_on.wait(LONG_S)
            batch.data[index] = self.number
            batch.labels[index] = 10 * self.number + index
            self.items += 1
            yield
        self.number += 1

    def close(self) -> None:
        self.closed += 1


def taken(prefetcher: Prefetcher, count: int) -> list[float]:
    numbers = []
    for _ in range(count):
        with prefetcher.batch() as batch:
            assert batch.data.shape[0] == batch.labels.size == 2
            numbers.append(float(batch.data[1, 0]))
    return numbers


def threads_of(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def until(condition: object) -> None:
    deadline = time.monotonic() + LONG_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_batches_come_in_order_whatever_the_depth(depth: int) -> None:
    source = Counting()
    prefetcher = Prefetcher(source, depth, "order")
    assert taken(prefetcher, 20) == list(range(20))
    assert source.threads == ({"order"} if depth else {threading.current_thread().name})
    prefetcher.close()
    assert source.closed == 1


def test_the_thread_starts_with_the_first_batch_and_reads_as_far_ahead_as_asked() -> None:
    source = Counting()
    prefetcher = Prefetcher(source, 3, "ahead")
    assert threads_of("ahead") == []
    taken(prefetcher, 1)
    until(lambda: source.number == 4)
    time.sleep(0.05)
    assert source.number == 4
    prefetcher.close()


def test_closing_ends_the_thread_in_the_middle_of_a_batch() -> None:
    source = Counting()
    prefetcher = Prefetcher(source, 2, "middle")
    taken(prefetcher, 1)
    until(lambda: source.number == 3)
    source.go_on.clear()
    taken(prefetcher, 1)
    closing = threading.Thread(target=prefetcher.close)
    closing.start()
    items = source.items
    source.go_on.set()
    closing.join(LONG_S)
    assert threads_of("middle") == []
    assert source.items <= items + 1
    assert source.closed == 1
    prefetcher.close()
    assert source.closed == 1


def test_after_closing_there_is_no_batch() -> None:
    prefetcher = Prefetcher(Counting(), 2, "closed")
    taken(prefetcher, 1)
    prefetcher.close()
    with pytest.raises(InputError, match="are closed"):
        taken(prefetcher, 1)


@pytest.mark.parametrize("depth", [0, 3])
def test_an_error_comes_in_place_of_its_batch_and_again_for_every_further_one(depth: int) -> None:
    source = Counting(fails_at=2)
    prefetcher = Prefetcher(source, depth, "error")
    assert taken(prefetcher, 2) == [0, 1]
    for _ in range(3):
        with pytest.raises(InputError, match="it is damaged"):
            taken(prefetcher, 1)
    prefetcher.close()
    assert threads_of("error") == []
    assert source.closed == 1


def test_a_bug_comes_as_it_is() -> None:
    prefetcher = Prefetcher(Counting(fails_at=0, error=ZeroDivisionError("a bug")), 1, "bug")
    with pytest.raises(ZeroDivisionError, match="a bug"):
        taken(prefetcher, 1)
    prefetcher.close()


@pytest.mark.parametrize("depth", [0, 2])
def test_an_interruption_of_whoever_uses_a_batch_loses_none(depth: int) -> None:
    prefetcher = Prefetcher(Counting(), depth, "interrupted")

    def interrupt() -> None:
        with prefetcher.batch():
            raise KeyboardInterrupt

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            interrupt()
    assert taken(prefetcher, 2) == [3, 4]
    prefetcher.close()


def test_an_interruption_while_a_batch_is_filled_without_a_thread_loses_no_memory() -> None:
    source = Counting()
    prefetcher = Prefetcher(source, 0, "interrupted")
    fill = source.fill

    def interrupted(batch: Batch) -> Iterator[None]:
        yield
        raise KeyboardInterrupt

    source.fill = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        taken(prefetcher, 1)
    source.fill = fill  # type: ignore[method-assign]
    assert taken(prefetcher, 1) == [0]


def test_one_that_is_forgotten_ends_its_thread() -> None:
    source = Counting()
    prefetcher = Prefetcher(source, 2, "forgotten")
    taken(prefetcher, 1)
    del prefetcher
    gc.collect()
    assert threads_of("forgotten") == []
    assert source.closed == 1


@forking_with_threads
def test_a_process_that_forked_off_later_is_told_and_ends() -> None:
    prefetcher = Prefetcher(Counting(), 2, "forked")
    taken(prefetcher, 1)
    until(lambda: threads_of("forked"))
    pid = os.fork()
    if not pid:
        status = 1
        try:
            taken(prefetcher, 5)
        except InputError as error:
            status = 0 if "forked off" in error.message else 2
        prefetcher.close()
        os._exit(status)
    _, status = os.waitpid(pid, 0)
    prefetcher.close()
    assert os.waitstatus_to_exitcode(status) == 0


@forking_with_threads
def test_a_process_that_forked_off_before_reads_for_itself() -> None:
    prefetcher = Prefetcher(Counting(), 2, "before")
    pid = os.fork()
    if not pid:
        status = 1
        try:
            status = 0 if taken(prefetcher, 3) == [0, 1, 2] else 2
            prefetcher.close()
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert taken(prefetcher, 3) == [0, 1, 2]
    prefetcher.close()


def test_a_thread_never_keeps_the_interpreter() -> None:
    script = """
        import time
        from farlayer.engine.data.prefetch import Prefetcher

        class Hangs:
            number = 0
            def fill(self, batch):
                batch.reshape((1, 1))
                self.number += 1
                if self.number > 1:
                    time.sleep(60)  # a dead disk
                yield
            def close(self):
                pass

        prefetcher = Prefetcher(Hangs(), 2, "hangs")
        with prefetcher.batch():
            print("read")
    """
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=40, check=False
    )
    assert (done.returncode, done.stdout) == (0, "read\n"), done
    assert time.monotonic() - started < LONG_S


def test_buffers_go_round() -> None:
    prefetcher = Prefetcher(Counting(size=1 << 18), 2, "round")
    seen = set()
    for index in range(12):
        if index == 6:
            tracemalloc.start()
        with prefetcher.batch() as batch:
            seen.add(batch.data.__array_interface__["data"][0])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    prefetcher.close()
    assert len(seen) == 2
    assert peak < 1 << 18


def test_a_batch_keeps_its_memory_when_its_shape_changes() -> None:
    batch = Batch()
    batch.reshape((4, 10))
    batch.data.fill(1)
    batch.reshape((2, 3, 5))
    assert batch.data.shape == (2, 3, 5)
    assert batch.labels.shape == (2,)
    np.testing.assert_array_equal(batch.data, np.ones((2, 3, 5)))
