"""A connection that breaks costs nothing but time: the instance is taken up again, and no request runs twice."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from farlayer.client import ClientOptions, Pool, static_pool
from farlayer.client.remote_layer import RemoteLayer
from farlayer.protos.errors import ProtocolError, WorkerError
from tests.remote_support import CARRIERS, REMOTE, Gate, wait_until_gone
from tests.server.server_support import CuttableProxy, ServerProcess


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess("127.0.0.1:0", resume_window_s=3.0) as running:
        yield running


@pytest.fixture
def proxy(server: ServerProcess) -> Iterator[CuttableProxy]:
    with CuttableProxy(server.address) as between:
        yield between


@pytest.fixture(params=REMOTE)
def pool(proxy: CuttableProxy, request: pytest.FixtureRequest) -> Iterator[Pool]:
    options = CARRIERS[request.param]
    assert options is not None
    with static_pool([proxy.address], options=replace(options, timeout_s=20)) as opened:
        yield opened


def counts(layer: RemoteLayer) -> object:
    return layer.session.exchange_state({}, ["forwards"])["forwards"]


def test_an_idle_stream_that_breaks_is_resumed(pool: Pool, proxy: CuttableProxy) -> None:
    layer = pool.layer("chaos_layers", "Counts")
    for calls in (1, 2, 3, 4):
        np.testing.assert_array_equal(layer.forward([1, 2])[0], [calls, calls])
        proxy.cut()
    assert counts(layer) == 4


def test_a_call_in_flight_is_not_run_twice_and_its_result_arrives(
    pool: Pool, proxy: CuttableProxy, tmp_path: Path
) -> None:
    gate = Gate(tmp_path)
    layer = pool.layer("chaos_layers", "WaitsAtGate", param_str=str(gate.path))
    layer.setup([1, 2])
    future = layer.forward_async([3, 4])
    gate.wait_started()
    proxy.cut()
    gate.let_go()
    np.testing.assert_array_equal(future.result(20)[0], [6, 8])
    assert counts(layer) == 1


def test_a_call_that_ends_while_the_connection_is_broken_is_answered_later(
    pool: Pool, proxy: CuttableProxy, tmp_path: Path
) -> None:
    gate = Gate(tmp_path)
    layer = pool.layer("chaos_layers", "WaitsAtGate", param_str=str(gate.path))
    layer.setup([1, 2])
    future = layer.forward_async([3, 4])
    pid = int(gate.wait_started())
    proxy.cut(refuse=True)
    gate.let_go()
    assert wait_until_gone([pid], 0.3) == [pid]
    proxy.mend()
    np.testing.assert_array_equal(future.result(20)[0], [6, 8])
    assert counts(layer) == 1


@pytest.mark.parametrize("after_bytes", [10_000, 1_500_000, 3_900_000])
def test_contents_that_break_off_on_their_way_are_sent_again(server: ServerProcess, after_bytes: int) -> None:
    values = np.arange(1_000_000, dtype=np.float32)
    with (
        CuttableProxy(server.address) as proxy,
        static_pool([proxy.address], options=ClientOptions(transport="streamed", timeout_s=20)) as pool,
    ):
        layer = pool.layer("chaos_layers", "Plain")
        layer.forward(values)
        proxy.cut_after(after_bytes)
        np.testing.assert_array_equal(layer.forward(values + 1)[0], 2 * (values + 1))
        assert proxy.was_cut.is_set()
        np.testing.assert_array_equal(layer.forward(values)[0], 2 * values)


def test_after_the_resume_window_the_error_says_so_and_the_worker_is_gone(server: ServerProcess) -> None:
    with (
        CuttableProxy(server.address) as proxy,
        static_pool([proxy.address], options=ClientOptions(transport="streamed", timeout_s=20)) as pool,
    ):
        layer = pool.layer("chaos_layers", "Counts")
        layer.forward([1])
        pid = layer.report().pid
        proxy.cut(refuse=True)
        assert wait_until_gone([pid], 10) == []
        with pytest.raises(WorkerError, match="cannot be reached"):
            layer.forward([1])


@pytest.mark.parametrize("in_flight", [False, True])
def test_a_server_that_does_not_know_the_instance_says_so(
    server: ServerProcess, tmp_path: Path, in_flight: bool
) -> None:
    gate = Gate(tmp_path)
    with (
        CuttableProxy(server.address) as proxy,
        ServerProcess("127.0.0.1:0") as successor,
        static_pool([proxy.address], options=ClientOptions(transport="streamed", timeout_s=20)) as pool,
    ):
        layer = pool.layer("chaos_layers", "WaitsAtGate", param_str=str(gate.path), name="lost")
        layer.setup([1])
        if in_flight:
            future = layer.forward_async([1])
            gate.wait_started()
        proxy.lead_to(successor.address)
        proxy.cut()
        if not in_flight:
            future = layer.forward_async([1])
        with pytest.raises(ProtocolError, match="no such instance to resume") as caught:
            future.result(20)
        assert caught.value.layer == "lost"
        assert "set the layer up anew" in caught.value.remedy
