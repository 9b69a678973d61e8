"""A pool of workers: which layer runs in which worker of which server."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from farlayer.client.connection import ServerConnection
from farlayer.client.host import Host
from farlayer.client.launchers import Launcher
from farlayer.client.launchers.local import LocalLauncher
from farlayer.client.launchers.static import StaticLauncher
from farlayer.client.options import ClientOptions
from farlayer.client.session import Connector
from farlayer.protos.errors import InputError

DEFAULT_MAX_WORKERS = 16
"""Worker processes of a local server where no number is given: a bound for nets with very many Python layers."""


class Pool(Host):
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
        super().__init__(options)
        self._launcher = launcher
        self._workers = workers
        self._id = uuid.uuid4().hex
        self._slots: dict[str, int] = {}
        self._places: list[ServerConnection] = []
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
        super().close()
        for connection in self.connections:
            connection.close()
        self.connections.clear()
        self._launcher.close()

    def _place(self, layer_name: str) -> tuple[Connector, str]:
        slot = self._slot(layer_name)
        return self._places[slot], f"{self._id}/{slot}"

    def _slot(self, layer_name: str) -> int:
        """The number of the worker for a name: a new one while there are any."""
        if not self.connections:
            raise InputError("this pool was not started", remedy="use it in a with statement, or call start")
        return self._slots.setdefault(layer_name, len(self._slots) % len(self._places))


def _in_turns(connections: Sequence[ServerConnection]) -> list[ServerConnection]:
    """The server of each worker: one after the other, as long as each may run more workers."""
    limits = [connection.description.limits.max_workers for connection in connections]
    return [
        connection
        for turn in range(max(limits, default=0))
        for connection, limit in zip(connections, limits, strict=True)
        if turn < limit
    ]


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
