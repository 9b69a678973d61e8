"""A pool of workers: which layer runs in which worker of which server."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol

from farlayer.blobs.blob import Blob
from farlayer.blobs.segment import Allocator, heap
from farlayer.client.carrier import Carrier
from farlayer.client.connection import ServerConnection
from farlayer.client.exchange import Exchange, InPlaceExchange
from farlayer.client.in_process_carrier import InProcessCarrier
from farlayer.client.launchers import Launcher
from farlayer.client.launchers.local import LocalLauncher
from farlayer.client.launchers.static import StaticLauncher
from farlayer.client.options import ClientOptions
from farlayer.client.remote_layer import RemoteLayer
from farlayer.client.session import LayerSession, LayerSpec
from farlayer.protos.errors import InputError
from farlayer.protos.layer_service_pb2 import Setup

logger = logging.getLogger(__name__)

DEFAULT_MAX_WORKERS = 16
"""Worker processes of a local server where no number is given: a bound for nets with very many Python layers."""


class LayerHost(Protocol):
    """Where an engine gets the sessions of its Python layers."""

    def session(self, spec: LayerSpec) -> LayerSession:
        """Makes the session of one layer. Nothing runs before its setup."""

    def allocator(self, layer_name: str) -> Allocator:
        """What blobs that touch this layer should be allocated with, so that they need not be copied."""


class Pool:
    """Workers of one launcher. `with` starts and ends them.

    Every layer name gets a worker of its own, at one server after the other; where there are more names than workers,
    workers hold several. Instances of one name (a layer of the train net and its twin of the test net) share one.

    Args:
        launcher: who starts the servers; closed with the pool.
        workers: worker processes at most, over all servers; None for as many as the servers allow.
    """

    def __init__(self, launcher: Launcher, *, workers: int | None = None, options: ClientOptions | None = None) -> None:
        if workers is not None and workers < 1:
            raise InputError(f"a pool needs at least 1 worker, not {workers}")
        self._launcher = launcher
        self._workers = workers
        self._options = options or ClientOptions()
        self._id = uuid.uuid4().hex
        self._slots: dict[str, int] = {}
        self._sessions: list[LayerSession] = []
        self._places: list[ServerConnection] = []
        self._names = 0
        self.connections: list[ServerConnection] = []

    def start(self) -> None:
        """Starts the servers and negotiates with each.

        Raises:
            WorkerUnavailableError, VersionError, TransportError: see ServerConnection.open.
        """
        try:
            for address in self._launcher.start():
                connection = ServerConnection(address, self._options)
                self.connections.append(connection)
                connection.open()
        except BaseException:
            self.close()
            raise
        self._places = _in_turns(self.connections)[: self._workers]

    def close(self) -> None:
        """Releases all layers and ends the servers that the pool started. Idempotent."""
        for session in self._sessions:
            session.close()
        self._sessions.clear()
        for connection in self.connections:
            connection.close()
        self.connections.clear()
        self._launcher.close()

    def __enter__(self) -> Pool:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # Layers

    def layer(
        self,
        module: str,
        layer: str,
        *,
        param_str: str = "",
        phase: str = "TRAIN",
        tops: int = 1,
        name: str = "",
    ) -> RemoteLayer:
        """A layer to be called with NumPy arrays; see docs/client.md.

        Args:
            module, layer, param_str: as in python_param of a prototxt.
            phase: "TRAIN" or "TEST".
            tops: how many tops the layer fills.
            name: for messages and for the choice of the worker; by default a new one each time.
        """
        self._names += 1
        spec = LayerSpec(name or f"{layer}-{self._names}", module, layer, param_str, phase)
        return RemoteLayer(self.session(spec), tops=tops, allocate=self.allocator(spec.name))

    def session(self, spec: LayerSpec) -> LayerSession:
        """See LayerHost. Closed with the pool."""
        slot = self._slot(spec.name)
        session = LayerSession(spec, self._connection(slot), self._options, f"{self._id}/{slot}")
        self._sessions.append(session)
        return session

    def allocator(self, layer_name: str) -> Allocator:
        """See LayerHost."""
        return self._connection(self._slot(layer_name)).allocator

    def _slot(self, layer_name: str) -> int:
        """The number of the worker for a name: a new one while there are any."""
        if not self.connections:
            raise InputError("this pool was not started", remedy="use it in a with statement, or call start")
        return self._slots.setdefault(layer_name, len(self._slots) % len(self._places))

    def _connection(self, slot: int) -> ServerConnection:
        return self._places[slot]


def _in_turns(connections: Sequence[ServerConnection]) -> list[ServerConnection]:
    """The server of each worker: one after the other, as long as each may run more workers."""
    limits = [connection.description.limits.max_workers for connection in connections]
    return [
        connection
        for turn in range(max(limits, default=0))
        for connection, limit in zip(connections, limits, strict=True)
        if turn < limit
    ]


class InProcessHost:
    """Runs layers in this process: for debugging and comparison. Same interface as Pool."""

    server = ""
    carrier = "in-process"
    transport = "in place"
    reason = "asked for"

    def __init__(self, options: ClientOptions | None = None) -> None:
        self._options = options or ClientOptions()
        self._sessions: list[LayerSession] = []

    def start(self) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Releases all layers."""
        for session in self._sessions:
            session.close()
        self._sessions.clear()

    def __enter__(self) -> InProcessHost:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def layer(
        self,
        module: str,
        layer: str,
        *,
        param_str: str = "",
        phase: str = "TRAIN",
        tops: int = 1,
        name: str = "",
    ) -> RemoteLayer:
        """See Pool.layer."""
        spec = LayerSpec(name or layer, module, layer, param_str, phase)
        return RemoteLayer(self.session(spec), tops=tops, allocate=heap)

    def session(self, spec: LayerSpec) -> LayerSession:
        """See LayerHost. Closed with the host."""
        session = LayerSession(spec, self, self._options, "")
        self._sessions.append(session)
        return session

    def allocator(self, layer_name: str) -> Allocator:
        """See LayerHost."""
        return heap

    # What sessions need (session.Connector)

    def attach(self, setup: Setup) -> Carrier:
        """Makes the carrier of one instance."""
        return InProcessCarrier()

    def exchange(self, blobs: Sequence[Blob]) -> Exchange:
        """Makes what moves its blobs."""
        return InPlaceExchange(blobs)


def local_pool(
    workers: int | None = None,
    *,
    python: str = "",
    python_path: Sequence[str] | None = None,
    options: ClientOptions | None = None,
    log_level: str = "WARNING",
    stderr: int | None = None,
) -> Pool:
    """A pool of workers on this host, started and ended with the pool.

    Args:
        workers: worker processes at most; None for one a layer, up to DEFAULT_MAX_WORKERS.
        python, python_path, log_level, stderr: see LocalLauncher.
    """
    launcher = LocalLauncher(
        max_workers=DEFAULT_MAX_WORKERS if workers is None else workers,
        python=python,
        python_path=python_path,
        log_level=log_level,
        stderr=stderr,
    )
    return Pool(launcher, workers=workers, options=options)


def static_pool(addresses: Sequence[str], *, workers: int | None = None, options: ClientOptions | None = None) -> Pool:
    """A pool of the workers of servers that run already, at "host:port" or "unix:/path" addresses."""
    return Pool(StaticLauncher(addresses), workers=workers, options=options)
