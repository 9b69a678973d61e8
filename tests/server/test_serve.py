"""A server's life as a process: what it says of itself, how it ends, whom it refuses."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from farlayer.client import ClientOptions, static_pool
from farlayer.client.connection import ServerConnection
from farlayer.protos import layer_service_pb2 as pb
from farlayer.protos.errors import VersionError, WorkerDiedError, WorkerError, WorkerUnavailableError
from farlayer.protos.layer_service_pb2_grpc import LayerServiceStub
from farlayer.server.options import ServerOptions
from tests.remote_support import Gate, wait_for, wait_until_gone
from tests.server.server_support import ServerProcess, channel_to, worker_pids

SERVICE = "farlayer.v1.LayerService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess(max_workers=2) as running:
        yield running


def health_of(address: str, service: str = "") -> int:
    with channel_to(address) as channel:
        return health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service)).status


def describe(address: str, oldest: int = 1, newest: int = 1) -> pb.DescribeReply:
    with channel_to(address) as channel:
        request = pb.DescribeRequest(oldest_version=oldest, newest_version=newest, client="a test")
        return LayerServiceStub(channel).Describe(request)


# --- what it says of itself ---


def test_describe_tells_what_the_server_is_and_holds(server: ServerProcess) -> None:
    found = describe(server.address)
    assert found.version == 1
    assert found.pid == server.process.pid
    assert found.software.startswith("farlayer ")
    assert found.python.count(".") == 2
    assert found.broker_path == f"{server.options.unix_path}.broker"
    assert (found.limits.max_workers, found.limits.max_chunk_bytes) == (2, 1024 * 1024)
    assert list(found.workers) == []
    assert not found.draining
    with static_pool([server.address]) as pool:
        layer = pool.layer("chaos_layers", "Plain", phase="TEST", name="conv1")
        layer.forward([1])
        (worker,) = describe(server.address).workers
        (instance,) = worker.instances
        assert (instance.layer, instance.type, instance.phase) == ("conv1", "chaos_layers.Plain", pb.TEST)
        assert worker.pid == layer.report().pid
    assert describe(server.address).server_uuid == found.server_uuid


def test_the_newest_common_version_is_used(server: ServerProcess) -> None:
    assert describe(server.address, 1, 7).version == 1


@pytest.mark.parametrize(("oldest", "newest"), [(2, 3), (0, 0)])
def test_without_a_common_version_the_call_fails_its_precondition(
    server: ServerProcess, oldest: int, newest: int
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        describe(server.address, oldest, newest)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "this server speaks protocol versions 1 to 1, the caller (a test)" in caught.value.details()


def test_a_client_that_is_too_new_gets_a_version_error(server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farlayer.client.negotiation.OLDEST_VERSION", 2)
    monkeypatch.setattr("farlayer.client.negotiation.NEWEST_VERSION", 2)
    connection = ServerConnection(server.address, ClientOptions())
    with pytest.raises(VersionError, match="install the same version"):
        connection.open()


@pytest.mark.parametrize("service", ["", SERVICE])
def test_the_standard_health_service_answers(server: ServerProcess, service: str) -> None:
    assert health_of(server.address, service) == SERVING


def test_reflection_lists_the_service_and_gives_its_schema(server: ServerProcess) -> None:
    with channel_to(server.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        requests = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
        ]
        listed, schema = list(stub.ServerReflectionInfo(iter(requests)))
    assert SERVICE in {service.name for service in listed.list_services_response.service}
    files = [FileDescriptorProto.FromString(file) for file in schema.file_descriptor_response.file_descriptor_proto]
    assert "farlayer.v1" in {file.package for file in files}


# --- workers ---


def test_more_workers_than_allowed_are_refused_and_the_others_go_on(server: ServerProcess) -> None:
    with static_pool([server.address]) as first, static_pool([server.address]) as second:
        layers = [first.layer("chaos_layers", "Counts") for _ in range(2)]
        for layer in layers:
            layer.forward([1])
        refused = second.layer("chaos_layers", "Counts", name="third")
        with pytest.raises(WorkerUnavailableError, match=r"no worker for layer 'third'.*its limit") as caught:
            refused.forward([1])
        assert "--max-workers" in caught.value.remedy
        assert caught.value.layer == "third"
        for layer in layers:
            assert layer.forward([1])[0] == 2
        layers[0].close()
        assert wait_for(lambda: len(describe(server.address).workers) == 1)
        assert second.layer("chaos_layers", "Counts", name="third").forward([1])[0] == 1


def test_a_worker_ends_with_its_last_layer(server: ServerProcess) -> None:
    with static_pool([server.address], workers=1) as pool:
        first, second = (pool.layer("chaos_layers", "Counts") for _ in range(2))
        first.forward([1])
        second.forward([1])
        pid = first.report().pid
        assert second.report().pid == pid
        first.close()
        assert second.forward([1])[0] == 2
        second.close()
        assert wait_until_gone([pid], 5) == []


def test_layers_of_one_name_share_a_worker_and_not_with_other_pools(server: ServerProcess) -> None:
    with static_pool([server.address]) as pool, static_pool([server.address]) as other:
        twins = [pool.layer("chaos_layers", "Counts", name="conv1", phase=phase) for phase in ("TRAIN", "TEST")]
        stranger = other.layer("chaos_layers", "Counts", name="conv1")
        for layer in (*twins, stranger):
            assert layer.forward([1])[0] == 1
        assert twins[0].report().pid == twins[1].report().pid != stranger.report().pid


def test_an_interpreter_that_is_not_there_is_told(tmp_path: Path) -> None:
    with ServerProcess(python=str(tmp_path / "python")) as server, static_pool([server.address]) as pool:
        with pytest.raises(WorkerUnavailableError, match=r"interpreter.*cannot be started") as caught:
            pool.layer("chaos_layers", "Counts").forward([1])
        assert "--python" in caught.value.remedy


def test_an_interpreter_that_ends_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho no such luck >&2\nexit 7\n")
    script.chmod(0o755)
    with ServerProcess(python=str(script)) as server, static_pool([server.address]) as pool:
        with pytest.raises(WorkerDiedError, match="exit code 7") as caught:
            pool.layer("chaos_layers", "Counts").forward([1])
        assert caught.value.exit_code_of_worker == 7
        assert caught.value.log_lines == ("no such luck",)


# --- the address ---


def test_an_address_in_use_is_refused_and_its_server_goes_on(server: ServerProcess) -> None:
    second = ServerProcess(server.address)
    with second:
        assert second.address.startswith(f"error cannot listen on '{server.address}': another server listens there")
        assert second.process.wait(10) == 2
    assert health_of(server.address) == SERVING
    with static_pool([server.address]) as pool:
        assert pool.connections[0].choice.transport == "shared", "the broker's socket is still there"


def test_a_port_in_use_is_refused() -> None:
    with ServerProcess("127.0.0.1:0") as first, ServerProcess(first.address) as second:
        assert second.address.startswith("error cannot listen on")
        assert second.process.wait(10) == 2


def test_the_socket_of_a_server_that_was_killed_is_replaced() -> None:
    with ServerProcess() as first:
        first.process.kill()
        first.process.wait()
        assert Path(first.options.unix_path).is_socket()
        with ServerProcess(first.options.listen) as second:
            assert second.address == first.options.listen
            assert health_of(second.address) == SERVING
        assert not Path(first.options.unix_path).exists()
        assert not Path(f"{first.options.unix_path}.broker").exists()


@pytest.mark.parametrize("suffix", ["", ".broker"])
def test_a_file_that_is_no_socket_is_never_removed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "w"
    taken = Path(f"{path}{suffix}")
    taken.write_text("precious")
    with ServerProcess(f"unix:{path}") as server:
        assert server.address.startswith("error cannot listen on")
        assert server.process.wait(10) == 2
    assert taken.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [taken]


def test_the_socket_is_for_its_owner_alone(server: ServerProcess) -> None:
    for path in (server.options.unix_path, f"{server.options.unix_path}.broker"):
        assert Path(path).stat().st_mode & 0o777 == 0o600


# --- the end ---


def test_sigterm_lets_a_call_finish_and_refuses_new_layers(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with ServerProcess() as server, static_pool([server.address]) as pool:
        layer = pool.layer("chaos_layers", "WaitsAtGate", param_str=str(gate.path))
        layer.setup([1])
        future = layer.forward_async([21])
        gate.wait_started()
        server.terminate()
        assert wait_for(lambda: describe(server.address).draining)
        assert health_of(server.address) == health_of(server.address, SERVICE) == NOT_SERVING
        with pytest.raises(WorkerUnavailableError, match="about to end") as caught:
            pool.layer("chaos_layers", "Counts").forward([1])
        assert "successor" in caught.value.remedy
        gate.let_go()
        np.testing.assert_array_equal(future.result(10)[0], [42])
        layer.close()
        assert server.process.wait(10) == 0
        assert not Path(server.options.unix_path).exists()
        assert not Path(f"{server.options.unix_path}.broker").exists()


def test_a_second_sigterm_does_not_wait_for_layers(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with ServerProcess(worker_end_s=0.2, resume_window_s=0.2) as server, static_pool([server.address]) as pool:
        layer = pool.layer("chaos_layers", "StartsChildren", param_str=str(gate.path))
        layer.setup([1])
        future = layer.forward_async([1])
        pids = [int(pid) for pid in gate.wait_started().strip("[]").split(",")]
        server.terminate()
        assert wait_for(lambda: describe(server.address).draining)
        server.terminate()
        assert server.process.wait(5) == 0
        assert wait_until_gone(pids, 1) == []
        assert not Path(server.options.unix_path).exists()
        assert isinstance(future.exception(10), WorkerError)


def test_a_server_without_layers_ends_at_once() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with ServerProcess(drain_s=60) as server:
            server.process.send_signal(number)
            assert server.process.wait(5) == 0


def test_the_end_of_the_lifeline_ends_the_server_and_removes_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    theirs, ours = os.pipe()
    os.set_inheritable(theirs, True)
    server = ServerProcess(f"unix:{folder}/s.sock", remove_folder=str(folder), lifeline=theirs, drain_s=60)
    server.inherited = (theirs,)
    with server, static_pool([server.address]) as pool:
        os.close(theirs)
        layer = pool.layer("chaos_layers", "Hangs")
        layer.setup([1])
        future = layer.forward_async([1])
        with channel_to(server.address) as channel:
            pids = worker_pids(LayerServiceStub(channel))
        os.close(ours)
        assert server.process.wait(5) == 0
        assert wait_until_gone(pids, 1) == []
        assert not folder.exists()
        assert isinstance(future.exception(10), WorkerError)


# --- the broker's socket ---


def test_garbage_at_the_broker_ends_its_connection_only(server: ServerProcess) -> None:
    garbage = [b"", b"\x00", b"\xff" * 5, b"\x00\x05\x00\x00\x00hello", b"\x01\xff\xff\xff\x7f", os.urandom(50_000)]
    garbage += [b"\x00" + len(text).to_bytes(4, "little") + text for text in (b"", b"\x0a\x02\x0a\x00", b"\x12\x00")]
    for letter in garbage:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.settimeout(5)
            sock.connect(f"{server.options.unix_path}.broker")
            sock.send(letter)
            sock.recv(4096)  # an answer that refuses, or the end
    with static_pool([server.address]) as pool:
        assert pool.connections[0].choice.transport == "shared"
        assert pool.layer("chaos_layers", "Counts").forward([1])[0] == 1
    assert "Traceback" not in server.log()


def test_engines_that_register_and_go_do_not_fill_the_broker(server: ServerProcess) -> None:
    descriptors = Path(f"/proc/{server.process.pid}/fd")
    before = len(list(descriptors.iterdir()))
    for number in range(50):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.settimeout(5)
            sock.connect(f"{server.options.unix_path}.broker")
            message = pb.BrokerRequest(register=pb.Register(rendezvous=b"%16d" % number)).SerializeToString()
            sock.send(b"\x00" + len(message).to_bytes(4, "little") + message)
            assert len(sock.recv(4096)) == 5, "an empty reply: done"
    assert wait_for(lambda: len(list(descriptors.iterdir())) <= before + 2)


def test_a_server_whose_parent_died_while_it_started_ends_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "farlayer-x"
    folder.mkdir()
    theirs, lifeline = os.pipe()
    ready, told = os.pipe()
    listen = f"unix:{folder}/s.sock"
    options = ServerOptions(listen, lifeline=theirs, ready=told, remove_folder=str(folder), log_level="WARNING")
    command = [sys.executable, "-m", "farlayer.server.serve", options.to_json()]
    process = subprocess.Popen(command, pass_fds=[theirs, told], stderr=subprocess.PIPE, text=True)
    for descriptor in (theirs, lifeline, ready, told):
        os.close(descriptor)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    assert not folder.exists()
