"""A server process of its own for tests, raw streams to it, and a TCP connection that can be cut."""

import os
import queue
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import grpc

from farlayer.protos import layer_service_pb2 as pb
from farlayer.protos.layer_service_pb2_grpc import LayerServiceStub
from farlayer.server.options import ServerOptions
from tests.remote_support import LAYERS


class ServerProcess:
    """`farlayer serve`, as a container or another user would run it. What it writes is in `log()`.

    Args:
        listen: "" for a unix socket in a folder of its own.
    """

    def __init__(self, listen: str = "", **options: object) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="server-"))
        self.options = replace(
            ServerOptions(listen=listen or f"unix:{self.folder}/s.sock", python_path=(str(LAYERS),)),
            **options,  # type: ignore[arg-type]  # the fields of ServerOptions
        )
        self.address = ""
        self.inherited: tuple[int, ...] = ()

    def start(self) -> "ServerProcess":
        ready, told = os.pipe()
        options = replace(self.options, ready=told)
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "farlayer.server.serve", options.to_json()],
                stderr=log,
                pass_fds=[told, *self.inherited],
            )
        os.close(told)
        with open(ready, encoding="utf-8") as lines:
            self.address = lines.read()
        return self

    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8")

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """Ends the server at once, and removes its folder."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
        shutil.rmtree(self.folder)

    def __enter__(self) -> "ServerProcess":
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.close()


@contextmanager
def channel_to(address: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        yield channel


class RawStream:
    """One Attach stream, message by message, with nothing but the generated code."""

    def __init__(self, stub: LayerServiceStub, timeout_s: float = 30.0) -> None:
        self._requests: queue.SimpleQueue[pb.LayerRequest | None] = queue.SimpleQueue()
        self.call = stub.Attach(iter(self._requests.get, None), timeout=timeout_s)

    def send(self, *requests: pb.LayerRequest) -> None:
        for request in requests:
            self._requests.put(request)

    def next(self) -> pb.LayerReply:
        return next(self.call)

    def ask(self, *requests: pb.LayerRequest) -> pb.LayerReply:
        """Sends, and returns the next reply."""
        self.send(*requests)
        return self.next()

    def half_close(self) -> None:
        self._requests.put(None)

    def close(self) -> None:
        self._requests.put(None)
        self.call.cancel()

    def __enter__(self) -> "RawStream":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def setup_request(
    layer: str, *, module: str = "chaos_layers", param_str: str = "", worker: str = "", sequence: int = 1
) -> pb.LayerRequest:
    """Setup of a layer with one bottom of two values, [1, 2], streamed, and one top. Its chunk is `TWO_VALUES`."""
    return pb.LayerRequest(
        sequence=sequence,
        new_segments=[pb.SegmentOffer(segment=2, size_bytes=8)],
        blobs=[pb.BlobState(index=0, shaped=True, shape=[2], capacity=2, data=pb.MemoryHandle(segment=2))],
        contents=[pb.Contents(segment=2, size_bytes=8)],
        setup=pb.Setup(layer="raw", module=module, type=layer, param_str=param_str, bottom=[0], top=[1], worker=worker),
    )


def chunk(contents: bytes, sequence: int = 1) -> pb.LayerRequest:
    return pb.LayerRequest(sequence=sequence, chunk=pb.Chunk(bytes=contents))


class CuttableProxy:
    """Forwards TCP connections to a server, and cuts them when told."""

    def __init__(self, address: str) -> None:
        self.lead_to(address)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._open = True
        self.forwarded_bytes = 0
        self._cut_after: int | None = None
        self.was_cut = threading.Event()
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def lead_to(self, address: str) -> None:
        """Has new connections go to this server."""
        host, _, port = address.rpartition(":")
        self._target = (host, int(port))

    def cut(self, *, refuse: bool = False) -> None:
        """Breaks every connection; `refuse` has new ones break at once, until `mend`."""
        with self._lock:
            self._open = not refuse
            for sock in [sock for pair in self._pairs for sock in pair]:
                _shut(sock)
            self._pairs.clear()
        self.was_cut.set()

    def cut_after(self, size_bytes: int) -> None:
        """Breaks the connection that brings so many more bytes to the server."""
        self._cut_after = self.forwarded_bytes + size_bytes

    def mend(self) -> None:
        with self._lock:
            self._open = True

    def close(self) -> None:
        self.cut(refuse=True)
        _shut(self._listener)
        self._thread.join(5)
        self._listener.close()

    def _accept(self) -> None:
        threads = []
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                break
            with self._lock:
                if not self._open:
                    near.close()
                    continue
                far = socket.create_connection(self._target)
                self._pairs.append((near, far))
            threads.append(threading.Thread(target=self._forward, args=(near, far), daemon=True))
            threads[-1].start()
        for thread in threads:
            thread.join(5)

    def _forward(self, near: socket.socket, far: socket.socket) -> None:
        with near, far, selectors.DefaultSelector() as selector:
            selector.register(near, selectors.EVENT_READ, far)
            selector.register(far, selectors.EVENT_READ, near)
            while True:
                for key, _ in selector.select():
                    assert isinstance(key.fileobj, socket.socket)
                    try:
                        piece = key.fileobj.recv(65536)
                        if not piece:
                            _shut(near)
                            _shut(far)
                            return
                        key.data.sendall(piece)
                    except OSError:
                        _shut(near)
                        _shut(far)
                        return
                    if key.fileobj is near:
                        self.forwarded_bytes += len(piece)
                        if self._cut_after is not None and self.forwarded_bytes > self._cut_after:
                            self._cut_after = None
                            self.cut()

    def __enter__(self) -> "CuttableProxy":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # closed already


def worker_pids(stub: LayerServiceStub) -> Sequence[int]:
    """Of the workers that run now."""
    description = stub.Describe(pb.DescribeRequest(oldest_version=1, newest_version=1))
    return [worker.pid for worker in description.workers]
