"""Which layer gets which worker of which server, and how pools and servers come and go."""

import os
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from farlayer.blobs.segment import heap, shared
from farlayer.client import ClientOptions, LayerSpec, Pool, local_pool, static_pool
from farlayer.client.launchers.local import LocalLauncher, is_local_server, own_python_path
from farlayer.client.launchers.static import StaticLauncher
from farlayer.protos.errors import InputError, PlacementError, TransportError, WorkerUnavailableError
from tests.remote_support import LAYERS, open_pool, wait_until_gone
from tests.server.server_support import ServerProcess

DOUBLE = ("contract_layers", "Double")


def slots(pool: Pool, names: Sequence[str]) -> list[tuple[str, str]]:
    """Server and worker of each layer, once it runs."""
    found = []
    for name in names:
        layer = pool.layer(*DOUBLE, name=name)
        layer.forward([1])
        report = layer.report()
        found.append((report.server, str(report.pid)))
    return found


# --- workers ---


def test_each_name_gets_a_worker_of_its_own_while_there_are_any_then_they_are_shared() -> None:
    with open_pool("mailbox", workers=2) as pool:
        first, second, third, again = slots(pool, ["a", "b", "c", "a"])
    assert first != second
    assert third == first == again


def test_a_layer_without_a_name_gets_a_new_one_each_time() -> None:
    with open_pool("mailbox") as pool:
        names = [pool.layer(*DOUBLE).session.spec.name for _ in range(3)]
    assert names == ["Double-1", "Double-2", "Double-3"]


def test_layers_go_to_one_server_after_the_other_within_their_limits() -> None:
    with (
        ServerProcess(max_workers=1) as small,
        ServerProcess(max_workers=3) as large,
        static_pool([small.address, large.address]) as pool,
    ):
        found = slots(pool, ["a", "b", "c", "d", "e"])
    assert [server for server, _ in found] == [
        small.address,
        large.address,
        large.address,
        large.address,
        small.address,
    ]
    assert len(set(found)) == 4
    assert found[4] == found[0]


def test_a_number_of_workers_bounds_all_servers_together() -> None:
    with ServerProcess() as one, ServerProcess() as two, static_pool([one.address, two.address], workers=3) as pool:
        found = slots(pool, ["a", "b", "c", "d"])
    assert [server for server, _ in found] == [one.address, two.address, one.address, one.address]
    assert found[3] == found[0]


def test_a_pool_of_no_workers_is_refused() -> None:
    with pytest.raises(InputError, match="at least 1 worker, not 0"):
        local_pool(0)


def test_a_pool_that_was_not_started_or_is_closed_says_so() -> None:
    pool = open_pool("mailbox")
    with pytest.raises(InputError, match="not started"):
        pool.layer(*DOUBLE)
    with pool:
        pass
    with pytest.raises(InputError, match="not started"):
        pool.session(LayerSpec("a", *DOUBLE))
    pool.close()


# --- transports ---


@pytest.mark.parametrize(
    ("options", "carrier", "transport", "says"),
    [
        ({}, "mailbox", "shared", "canary passed"),
        ({"carrier": "grpc"}, "grpc", "shared", "--carrier forced"),
        ({"transport": "shared"}, "mailbox", "shared", "--transport forced"),
        ({"transport": "streamed"}, "grpc", "streamed", "forced by --transport streamed"),
    ],
)
def test_carrier_and_transport_are_chosen_or_forced_with_the_reason(
    options: dict[str, str], carrier: str, transport: str, says: str
) -> None:
    with ServerProcess() as server, static_pool([server.address], options=ClientOptions(**options)) as pool:  # type: ignore[arg-type]
        choice = pool.connections[0].choice
        assert (choice.carrier, choice.transport) == (carrier, transport)
        assert says in choice.reason
        assert pool.allocator("any") is (shared if transport == "shared" else heap)


def test_where_memory_cannot_be_shared_blobs_are_streamed_out_loud(caplog: pytest.LogCaptureFixture) -> None:
    with ServerProcess() as server:
        os.unlink(f"{server.options.unix_path}.broker")
        with caplog.at_level("WARNING", "farlayer"), static_pool([server.address]) as pool:
            assert pool.layer(*DOUBLE).forward([1])[0] == 2
            assert pool.connections[0].choice.transport == "streamed"
        assert "blobs will be streamed" in caplog.text
        assert "No such file" in caplog.text
        for options in (ClientOptions(transport="shared"), ClientOptions(carrier="mailbox")):
            with (
                pytest.raises(TransportError, match="was forced, but cannot be had"),
                static_pool([server.address], options=options),
            ):
                pass


def test_a_mailbox_that_streams_is_refused() -> None:
    with pytest.raises(InputError, match="mailbox carrier needs shared memory"):
        ClientOptions(carrier="mailbox", transport="streamed")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"carrier": "pigeon"}, "choose one of auto, mailbox, grpc"),
        ({"transport": "telepathy"}, "choose one of auto, shared, streamed"),
        ({"timeout_s": 0}, "timeout_s is a time in seconds above 0"),
        ({"connect_timeout_s": -1}, "connect_timeout_s"),
        ({"timeout_s": float("nan")}, "timeout_s"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(InputError) as caught:
        ClientOptions(**options)  # type: ignore[arg-type]
    assert says in str(caught.value)


# --- servers ---


@pytest.mark.parametrize("address", ["unix:/no/such/farlayer.sock", "127.0.0.1:1"])
def test_a_server_that_does_not_answer_is_told_with_its_address(address: str) -> None:
    with (
        pytest.raises(WorkerUnavailableError, match=address) as caught,
        static_pool([address], options=ClientOptions(connect_timeout_s=0.3)),
    ):
        pass
    assert "farlayer serve" in caught.value.remedy


@pytest.mark.parametrize("address", ["", "nowhere", "http://a:1", "unix:relative", "a:b", "1:2:3", "a:65536"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(PlacementError, match=r"is no address of a server|a unix address has an absolute path"):
        StaticLauncher([address]).start()


def test_addresses_are_taken_as_they_are() -> None:
    addresses = ["unix:/run/x.sock", "host:1", "[::1]:7070"]
    assert StaticLauncher(addresses).start() == addresses


def test_a_local_server_starts_in_a_folder_of_its_own_and_leaves_none() -> None:
    launcher = LocalLauncher(max_workers=1)
    (address,) = launcher.start()
    folder = Path(address.removeprefix("unix:")).parent
    assert {path.name for path in folder.iterdir()} == {"server.sock", "server.sock.broker"}
    assert folder.stat().st_mode & 0o777 == 0o700
    launcher.close()
    launcher.close()
    assert not folder.exists()


def test_a_local_server_that_cannot_start_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(WorkerUnavailableError, match="the local server did not start"):
        LocalLauncher(max_workers=0).start()
    assert list(tmp_path.iterdir()) == []


def test_a_local_server_does_not_hear_the_ctrl_c_that_is_for_its_engine() -> None:
    with open_pool("mailbox") as pool:
        pid = pool.connections[0].description.pid
        assert os.getpgid(pid) != os.getpgid(0)
        layer = pool.layer(*DOUBLE)
        layer.forward([1])
        assert os.getpgid(layer.report().pid) not in {os.getpgid(0), os.getpgid(pid)}
        os.kill(pid, signal.SIGTERM)
        layer.close()
        assert wait_until_gone([pid], 5) == []


def test_workers_look_in_the_folders_that_this_process_added(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(LAYERS)
    found = own_python_path()
    assert found[0] == str(LAYERS)
    assert not any("site-packages" in folder for folder in found)
    with local_pool() as pool:
        assert pool.layer(*DOUBLE).forward([3])[0] == 6


# --- what a pool keeps ---


def test_a_layer_that_was_closed_and_dropped_leaves_no_descriptors_in_a_pool_that_goes_on() -> None:
    def use_one() -> int:
        layer = pool.layer(*DOUBLE)
        layer.forward([1])
        layer.backward(1.0)
        layer.close()
        return len(os.listdir("/proc/self/fd"))

    with open_pool("mailbox", workers=1) as pool:
        pool.layer(*DOUBLE).forward([1])  # keeps the worker alive
        use_one()
        counts = [use_one() for _ in range(5)]
    assert len(set(counts)) == 1, counts


def test_a_folder_of_temporary_files_too_long_for_a_socket_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("long" * 20)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with open_pool("mailbox") as pool:
        layer = pool.layer(*DOUBLE)
        assert layer.forward([1])[0] == 2
        server = layer.report().server
        assert is_local_server(server)
    assert not Path(server.removeprefix("unix:")).parent.exists()


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("inf"), float("nan"), 1e10])
def test_a_timeout_that_no_clock_can_count_is_refused(timeout_s: float) -> None:
    with pytest.raises(InputError, match="timeout_s is a time in seconds"):
        ClientOptions(timeout_s=timeout_s)
