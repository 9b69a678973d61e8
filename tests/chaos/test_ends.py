"""However an engine or a server ends, nothing of them stays: no process, no folder, no socket."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from farlayer.client import ClientOptions, static_pool
from farlayer.protos.errors import ProtocolError, WorkerError
from tests.remote_support import CARRIERS, LAYERS, REMOTE, Gate, open_pool, wait_until_gone
from tests.server.server_support import ServerProcess

ENGINE = """
import sys
from farlayer.client import ClientOptions, local_pool

layers, carrier, transport, gate = sys.argv[1:]
options = ClientOptions(carrier=carrier, transport=transport)
with local_pool(python_path=[layers], options=options) as pool:
    idle = pool.layer("chaos_layers", "Counts")
    idle.forward([1])
    busy = pool.layer("chaos_layers", "StartsChildren", param_str=gate)
    busy.setup([1])
    print(pool.connections[0].description.pid, idle.report().pid, flush=True)
    busy.forward([1])
"""
GONE_S = 6.0  # 2 of them are what a busy worker gets for its exit handlers


class Engine:
    """An engine process whose one layer is idle and whose other one is in the middle of forward."""

    def __init__(self, carrier: str, folder: Path) -> None:
        gate = Gate(folder)
        chosen = CARRIERS[carrier]
        assert chosen is not None
        self.process = subprocess.Popen(
            [sys.executable, "-c", ENGINE, str(LAYERS), chosen.carrier, chosen.transport, str(gate.path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.end()
        self.server_pid, idle_pid = map(int, line.split())
        self.worker_pids = [idle_pid, *json.loads(gate.wait_started())]

    def end(self) -> str:
        """Waits for the end; returns what it wrote to stderr."""
        return self.process.communicate(timeout=15)[1]


def folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("farlayer-*"))


@pytest.mark.parametrize("carrier", REMOTE)
def test_an_engine_that_is_killed_leaves_nothing(carrier: str, tmp_path: Path) -> None:
    before = folders()
    engine = Engine(carrier, tmp_path)
    assert folders() > before
    engine.process.kill()
    assert wait_until_gone([engine.server_pid, *engine.worker_pids], GONE_S) == []
    assert folders() == before
    engine.end()


@pytest.mark.parametrize("carrier", REMOTE)
def test_ctrl_c_in_the_middle_of_forward_is_a_keyboard_interrupt_and_leaves_nothing(
    carrier: str, tmp_path: Path
) -> None:
    before = folders()
    engine = Engine(carrier, tmp_path)
    started = time.monotonic()
    engine.process.send_signal(signal.SIGINT)
    stderr = engine.end()
    assert engine.process.returncode == -signal.SIGINT
    assert stderr.rstrip().endswith("KeyboardInterrupt")
    assert time.monotonic() - started < GONE_S + 1
    assert wait_until_gone([engine.server_pid, *engine.worker_pids], 0.5) == []
    assert folders() == before


@pytest.mark.parametrize("carrier", REMOTE)
def test_a_server_that_is_killed_is_told_soon_and_its_workers_die(carrier: str, tmp_path: Path) -> None:
    engine = Engine(carrier, tmp_path)
    idle, busy, *children = engine.worker_pids
    started = time.monotonic()
    os.kill(engine.server_pid, signal.SIGKILL)
    assert wait_until_gone([idle, busy], 1) == []
    stderr = engine.end()
    assert time.monotonic() - started < 6
    assert "farlayer.protos.errors.WorkerDiedError: " in stderr
    assert engine.process.returncode == 1
    for pid in wait_until_gone(children, 0):
        os.kill(pid, signal.SIGKILL)  # the server was what would have ended them


def test_the_end_of_a_server_elsewhere_is_told_to_its_engines() -> None:
    with (
        ServerProcess("127.0.0.1:0", resume_window_s=0.5) as server,
        static_pool([server.address], options=ClientOptions(transport="streamed")) as pool,
    ):
        layer = pool.layer("chaos_layers", "Counts")
        layer.forward([1])
        server.process.kill()
        server.process.wait()
        started = time.monotonic()
        with pytest.raises(WorkerError):
            layer.forward([1])
        assert time.monotonic() - started < 5


@pytest.mark.parametrize("carrier", REMOTE)
def test_a_layer_may_fork_a_pool_of_processes_and_they_end_with_it(carrier: str) -> None:
    with open_pool(carrier) as pool:
        layer = pool.layer("chaos_layers", "UsesPool")
        assert layer.forward([1, 2, 3])[0].tolist() == [1, 4, 9]
        pids = layer.session.exchange_state({}, ["pids"])["pids"]
        assert isinstance(pids, list)
        assert wait_until_gone(pids, 0) == pids
        layer.close()
        assert wait_until_gone([layer.report().pid, *pids], 3) == []


def test_a_layer_may_spawn_processes_that_import_its_module_again() -> None:
    with open_pool("mailbox") as pool:
        layer = pool.layer("chaos_layers", "UsesSpawnedPool")
        assert layer.forward([1, 2, 3])[0].tolist() == [1, 4, 9]


@pytest.mark.parametrize("carrier", REMOTE)
def test_closing_a_pool_does_not_wait_for_a_call_that_nobody_waits_for(carrier: str, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with open_pool(carrier) as pool:
        layer = pool.layer("chaos_layers", "WaitsAtGate", param_str=str(gate.path))
        layer.setup([1])
        future = layer.forward_async([1])
        pid = int(gate.wait_started())
        closed_at = time.monotonic()
    assert time.monotonic() - closed_at < 10
    with pytest.raises(ProtocolError, match="closed in the middle of a call"):
        future.result(5)
    assert wait_until_gone([pid], 0) == []


@pytest.mark.parametrize("carrier", REMOTE)
def test_the_exit_handlers_of_a_layer_run_when_it_is_released(carrier: str, tmp_path: Path) -> None:
    path = tmp_path / "written"
    with open_pool(carrier) as pool:
        layer = pool.layer("chaos_layers", "WritesAtExit", param_str=str(path))
        layer.forward([1])
        layer.close()
        assert wait_until_gone([layer.report().pid], 3) == []
        assert path.read_text() == "the exit handler ran"


@pytest.mark.parametrize("carrier", REMOTE)
def test_the_exit_handlers_of_a_layer_run_when_its_pool_is_closed(carrier: str, tmp_path: Path) -> None:
    path = tmp_path / "written"
    with open_pool(carrier) as pool:
        pool.layer("chaos_layers", "WritesAtExit", param_str=str(path)).forward([1])
    assert path.read_text() == "the exit handler ran"


def test_a_pool_leaves_nothing_once_closed(leak_check: Callable[[], list[str]]) -> None:
    for carrier in REMOTE:
        with open_pool(carrier) as pool:
            layers = [pool.layer("chaos_layers", "Counts") for _ in range(2)]
            for layer in layers:
                layer.forward([1])
    del layers, layer, pool
    assert leak_check() == []


def test_the_descriptors_of_an_engine_do_not_grow_with_its_calls() -> None:
    with open_pool("mailbox") as pool:
        rows = pool.layer("contract_layers", "Rows")
        rows.forward([1])
        before = len(os.listdir("/proc/self/fd"))
        worker = f"/proc/{rows.report().pid}/fd"
        before_there = len(os.listdir(worker))
        for count in range(2, 60):
            rows.forward([count])
        assert len(os.listdir("/proc/self/fd")) <= before + 2
        assert len(os.listdir(worker)) <= before_there + 2
