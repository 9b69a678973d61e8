"""The server process: listens, tells that it does, and ends in order."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from farlayer.blobs.descriptors import allow_many_descriptors
from farlayer.protos.errors import InputError
from farlayer.protos.layer_service_pb2 import DESCRIPTOR
from farlayer.protos.layer_service_pb2_grpc import add_LayerServiceServicer_to_server
from farlayer.protos.protocol import GRPC_OPTIONS
from farlayer.server.broker import Broker, is_socket
from farlayer.server.options import ServerOptions
from farlayer.server.servicer import LayerServicer
from farlayer.server.supervisor import Supervisor

logger = logging.getLogger(__name__)

SERVICE = DESCRIPTOR.services_by_name["LayerService"].full_name
_MAX_STREAMS = 1024
"""Attach streams at one time. Each holds a thread, since user code may take long."""

_PARENT_CHECK_S = 1.0

_CHANNEL_OPTIONS = [
    *GRPC_OPTIONS,
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.so_reuseport", 0),
]


class Server:
    """A running server; `start`, then `wait`, then `close`.

    Attributes:
        address: where it listens, with the port that was taken; "" before start.
    """

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._stop = threading.Event()
        self.address = ""

    def start(self) -> None:
        """Listens.

        Raises:
            InputError: the address cannot be listened on.
        """
        options = self._options
        self._supervisor = Supervisor(options)
        self._broker = Broker(_broker_path(options))
        self._servicer = LayerServicer(options, self._supervisor, self._broker)
        self._health = health.HealthServicer()
        self._grpc = grpc.server(
            ThreadPoolExecutor(_MAX_STREAMS + 16, "farlayer-grpc"),
            options=_CHANNEL_OPTIONS,
            maximum_concurrent_rpcs=_MAX_STREAMS,
        )
        add_LayerServiceServicer_to_server(self._servicer, self._grpc)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), self._grpc)
        self.address = self._bind()
        try:
            self._broker.start()
        except InputError:
            self._grpc.stop(None).wait()
            self._unlink()
            raise
        self._grpc.start()
        self._set_health(health_pb2.HealthCheckResponse.SERVING)
        logger.info("listening on %s, pid %d", self.address, os.getpid())

    def _bind(self) -> str:
        listen = self._options.listen
        try:
            if self._options.unix_path:
                _remove_stale_socket(self._options.unix_path)
                _bind_privately(self._grpc, listen)
                return listen
            port = self._grpc.add_insecure_port(listen)
        except (RuntimeError, OSError) as error:
            raise InputError(
                f"cannot listen on '{listen}': {error}", remedy="is the port taken, or its folder not writable?"
            ) from error
        if port == 0:
            raise InputError(f"cannot listen on '{listen}'", remedy="is the port taken, or the host not ours?")
        return f"{listen.rpartition(':')[0]}:{port}"

    def _set_health(self, status: int) -> None:
        self._health.set("", status)
        self._health.set(SERVICE, status)

    def stop(self, *, hurry: bool = False) -> None:
        """Has `wait` return. May be called from signal handlers and other threads.

        Args:
            hurry: do not wait for the layers that are held.
        """
        self._stop.set()
        if hurry and self.address:
            self._servicer.hurry()

    def wait(self) -> None:
        """Returns after stop was called, or when options.parent is gone."""
        while not self._stop.wait(_PARENT_CHECK_S):
            if self._options.parent and os.getppid() != self._options.parent:
                return

    def close(self, *, drain_s: float) -> None:
        """Ends: takes no new layers, waits for those that are held, ends the workers."""
        self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        if not self._servicer.drain(drain_s) and drain_s:
            logger.warning("layers are still held after %g s; they are ended", drain_s)
        self._supervisor.close()
        self._grpc.stop(0.5).wait()
        self._broker.close()
        self._unlink()
        if self._options.remove_folder:
            shutil.rmtree(self._options.remove_folder, ignore_errors=True)

    def _unlink(self) -> None:
        path = self._options.unix_path
        if path and os.path.exists(path):
            os.unlink(path)


def _bind_privately(server: grpc.Server, address: str) -> None:
    """Makes a unix socket that only its owner can open, from its first moment on."""
    mask = os.umask(0o177)
    try:
        server.add_insecure_port(address)
    finally:
        os.umask(mask)


def _broker_path(options: ServerOptions) -> str:
    """Beside the server's own socket, so that containers that share its folder reach both; else an abstract name."""
    return f"{options.unix_path}.broker" if options.unix_path else f"@farlayer-{uuid.uuid4().hex}"


def _remove_stale_socket(path: str) -> None:
    """Removes the socket of a server that was killed; one that answers is left to make bind fail."""
    if not is_socket(path):
        return  # nothing is there, or something that is not ours to remove: bind will say
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            return  # not ours: bind will say
        else:
            raise OSError("another server listens there")


def serve(options: ServerOptions) -> int:
    """Runs a server until SIGTERM, SIGINT, or the end of its lifeline. Returns the exit code."""
    logging.basicConfig(level=options.log_level, format="%(levelname)s %(name)s: %(message)s")
    allow_many_descriptors()
    server = Server(options)
    signals: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        signals.append(number)
        if len(signals) > 2:
            os._exit(1)  # asked three times: the kernel ends the workers with us
        server.stop(hurry=len(signals) > 1)

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    try:
        server.start()
    except InputError as error:
        _tell_ready(options, f"error {error}")
        logger.error("%s", error)
        return error.exit_code
    _tell_ready(options, server.address)
    orphaned = threading.Event()
    if options.lifeline >= 0:
        threading.Thread(target=_hold_lifeline, args=(options.lifeline, server, orphaned), daemon=True).start()
    server.wait()
    server.close(drain_s=0 if orphaned.is_set() else options.drain_s)
    return 0


def _tell_ready(options: ServerOptions, line: str) -> None:
    if options.ready >= 0:
        try:
            with open(options.ready, "w", encoding="utf-8") as stream:
                stream.write(line)
        except BrokenPipeError:
            pass  # whoever started us is gone: the lifeline says so, too, and has us end in order


def _hold_lifeline(descriptor: int, server: Server, orphaned: threading.Event) -> None:
    """Stops the server when whoever started it is gone."""
    os.read(descriptor, 1)
    orphaned.set()
    server.stop()


if __name__ == "__main__":
    sys.exit(serve(ServerOptions.from_json(sys.argv[1])))
