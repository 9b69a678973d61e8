"""A worker that dies takes its own layers with it, nothing else, and the error tells how it died."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from farlayer.client import Pool
from farlayer.protos.errors import DeadlineError, WorkerDiedError
from tests.remote_support import REMOTE, Gate, open_pool, wait_until_gone

SOON_S = 1.0


@pytest.fixture(scope="module", params=REMOTE)
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    """A pool in which every layer gets a worker of its own."""
    with open_pool(request.param) as opened:
        yield opened


def test_a_worker_killed_in_the_middle_of_forward_is_told_within_a_second(pool: Pool, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    layer = pool.layer("chaos_layers", "WaitsAtGate", param_str=str(gate.path), name="conv1")
    layer.setup([1])
    future = layer.forward_async([1])
    pid = int(gate.wait_started())
    killed_at = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerDiedError) as caught:
        future.result(10)
    assert time.monotonic() - killed_at < SOON_S
    error = caught.value
    assert (error.signal, error.layer) == (signal.SIGKILL, "conv1")
    assert "the layer goes to its gate" in error.log_lines
    for part in ("layer 'conv1'", "chaos_layers.WaitsAtGate", "SIGKILL", f"pid {pid}", "the layer goes to its gate"):
        assert part in str(error)
    with pytest.raises(WorkerDiedError):
        layer.forward([1])
    layer.close()


def test_a_death_is_told_also_where_a_child_of_the_layer_holds_the_mailbox_open(pool: Pool, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    layer = pool.layer("chaos_layers", "ForksAChildThatStays", param_str=str(gate.path), name="parent")
    layer.setup([1])
    future = layer.forward_async([1])
    pid, child = json.loads(gate.wait_started())
    killed_at = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    try:
        with pytest.raises(WorkerDiedError, match=r"'parent'.*SIGKILL"):
            future.result(10)
        assert time.monotonic() - killed_at < 3
    finally:
        os.kill(child, signal.SIGKILL)  # out of reach of the server: it left the worker's process group
    layer.close()


def test_a_worker_killed_while_idle_is_told_by_the_next_call(pool: Pool) -> None:
    layer = pool.layer("chaos_layers", "Counts", name="idle")
    layer.forward([1])
    pid = layer.report().pid
    os.kill(pid, signal.SIGTERM)
    assert wait_until_gone([pid], 5) == []
    started = time.monotonic()
    with pytest.raises(WorkerDiedError, match=r"'idle'.*SIGTERM") as caught:
        layer.forward([1])
    assert time.monotonic() - started < SOON_S
    assert caught.value.signal == signal.SIGTERM
    layer.close()


def test_a_crash_in_native_code_is_told_with_its_stack(pool: Pool) -> None:
    layer = pool.layer("chaos_layers", "Ends", param_str="segfault", name="native")
    with pytest.raises(WorkerDiedError, match=r"'native'.*SIGSEGV") as caught:
        layer.forward([1])
    assert caught.value.signal == signal.SIGSEGV
    assert "the layer's last words" in caught.value.log_lines
    assert any("chaos_layers.py" in line for line in caught.value.log_lines), "faulthandler's stack"
    layer.close()


def test_an_exit_past_all_handlers_is_told_with_its_code(pool: Pool) -> None:
    layer = pool.layer("chaos_layers", "Ends", param_str="exit", name="exiting")
    with pytest.raises(WorkerDiedError, match=r"'exiting'.*exit code 3") as caught:
        layer.forward([1])
    assert (caught.value.signal, caught.value.exit_code_of_worker) == (0, 3)
    layer.close()


def test_the_death_of_one_worker_leaves_the_others_alive(pool: Pool) -> None:
    others = [pool.layer("chaos_layers", "Counts") for _ in range(2)]
    victim = pool.layer("chaos_layers", "Ends", param_str=str(int(signal.SIGKILL)))
    for layer in others:
        layer.forward([1])
    with pytest.raises(WorkerDiedError):
        victim.forward([1])
    for layer in others:
        np.testing.assert_array_equal(layer.forward([1])[0], [2])
        layer.close()
    assert len({layer.report().pid for layer in (*others, victim)}) == 3
    victim.close()


def test_a_layer_whose_worker_died_can_be_made_anew_under_its_name(pool: Pool) -> None:
    first = pool.layer("chaos_layers", "Counts", name="again")
    first.forward([1])
    os.kill(first.report().pid, signal.SIGKILL)
    with pytest.raises(WorkerDiedError):
        first.forward([1])
    first.close()
    second = pool.layer("chaos_layers", "Counts", name="again")
    np.testing.assert_array_equal(second.forward([1])[0], [1])
    second.close()


def test_what_the_engine_holds_survives_the_worker(pool: Pool) -> None:
    layer = pool.layer("contract_layers", "CountsInParams")
    layer.forward([1, 2])
    os.kill(layer.report().pid, signal.SIGKILL)
    with pytest.raises(WorkerDiedError):
        layer.forward([3, 4])
    np.testing.assert_array_equal(layer.params[0].data, np.full((2, 2), 11))
    np.testing.assert_array_equal(layer.top[0].data, [11, 22])
    layer.close()


def test_twins_of_a_dead_worker_are_all_told(pool: Pool) -> None:
    twins = [pool.layer("chaos_layers", "Counts", name="twin") for _ in range(2)]
    for twin in twins:
        twin.forward([1])
    os.kill(twins[0].report().pid, signal.SIGKILL)
    for twin in twins:
        with pytest.raises(WorkerDiedError):
            twin.forward([1])
        twin.close()


@pytest.mark.parametrize("carrier", REMOTE)
def test_a_layer_over_its_deadline_is_ended_with_its_stacks(carrier: str) -> None:
    with open_pool(carrier, timeout_s=0.5) as pool:
        layer = pool.layer("chaos_layers", "Hangs", name="slow")
        layer.setup([1])
        pid = layer.report().pid
        started = time.monotonic()
        with pytest.raises(DeadlineError) as caught:
            layer.forward([1])
        assert 0.5 <= time.monotonic() - started < 0.5 + 2 * SOON_S
        assert caught.value.layer == "slow"
        for part in ("layer 'slow'", "did not finish forward within 0.5 s", "in sleep_for_ever", f"pid {pid}"):
            assert part in str(caught.value)
        assert wait_until_gone([pid], 1) == []
        with pytest.raises(DeadlineError):
            layer.forward([1])
        other = pool.layer("chaos_layers", "Counts")
        np.testing.assert_array_equal(other.forward([1])[0], [1])


@pytest.mark.parametrize("carrier", REMOTE)
def test_a_setup_over_its_deadline_is_ended_with_its_stacks(carrier: str, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with open_pool(carrier, timeout_s=0.8) as pool:
        layer = pool.layer("chaos_layers", "WaitsInSetup", param_str=str(gate.path))
        future = layer.setup_async([1])
        pid = int(gate.wait_started())
        with pytest.raises(DeadlineError, match="did not finish setup"):
            future.result(10)
        assert wait_until_gone([pid], 1) == []
