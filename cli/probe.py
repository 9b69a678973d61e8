"""A trial of one server: what was negotiated with it, and how long calls of a layer take there."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from farlayer.cli.console import Screen
from farlayer.cli.hosts import open_pool
from farlayer.cli.options import HostOptions
from farlayer.client.pool import Pool
from farlayer.client.remote_layer import RemoteLayer
from farlayer.protos.errors import FarlayerError

CALLS = 50
_WARM_UP_CALLS = 3
SIZES_BYTES = (4, 4 * 1024 * 1024)
_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Timing:
    """Median time of a forward that copies `size_bytes` in and the same number out."""

    size_bytes: int
    call_s: float


@dataclass(frozen=True)
class ServerCheck:
    """What a trial found.

    Attributes:
        address: the server's; "" for a local one, started for the trial.
        error: why it could not be used; None where all went well. Then the other fields hold.
        software, python, pid: of the server.
        protocol_version: that both ends speak.
        max_workers: its limit.
        carrier, transport, reason: what was negotiated, and why.
        worker: name of the probe's worker.
        worker_environment: what the worker runs on.
        timings: of calls.
    """

    address: str
    error: FarlayerError | None = None
    software: str = ""
    python: str = ""
    pid: int = 0
    protocol_version: int = 0
    max_workers: int = 0
    carrier: str = ""
    transport: str = ""
    reason: str = ""
    worker: str = ""
    worker_environment: dict[str, object] | None = None
    timings: tuple[Timing, ...] = ()


def check_servers(options: HostOptions, screen: Screen) -> list[ServerCheck]:
    """Tries every server that the options name, or a local one."""
    return [_check(replace(options, addresses=(address,)), screen) for address in options.addresses] or [
        _check(options, screen)
    ]


def _check(options: HostOptions, screen: Screen) -> ServerCheck:
    address = options.addresses[0] if options.addresses else ""
    try:
        with screen.status(f"Trying {address or 'a local server'}"), open_pool(options, screen) as pool:
            return _probe(pool, address)
    except FarlayerError as error:
        return ServerCheck(address, error)


def _probe(pool: Pool, address: str) -> ServerCheck:
    connection = pool.connections[0]
    layer = pool.layer("farlayer.worker.probe", "EchoLayer", name="doctor")
    timings = tuple(Timing(size_bytes, _time_calls(layer, size_bytes)) for size_bytes in SIZES_BYTES)
    environment = layer.invoke("environment")
    report = layer.report()
    description = connection.description
    return ServerCheck(
        address,
        software=description.software,
        python=description.python,
        pid=description.pid,
        protocol_version=description.version,
        max_workers=description.limits.max_workers,
        carrier=report.carrier,
        transport=report.transport,
        reason=report.reason,
        worker=report.worker,
        worker_environment=environment if isinstance(environment, dict) else {},
        timings=timings,
    )


def _time_calls(layer: RemoteLayer, size_bytes: int) -> float:
    values = np.zeros(size_bytes // _FLOAT_BYTES, np.float32)
    layer.forward(values)
    times_s = []
    for call in range(_WARM_UP_CALLS + CALLS):
        layer.bottom[0].data[...] = call  # what did not change would not be sent
        started = time.perf_counter()
        layer.session.forward()
        times_s.append(time.perf_counter() - started)
    if not (layer.top[0].data == layer.bottom[0].data).all():
        raise FarlayerError("the probe's layer did not echo what it was given: blobs are damaged on their way")
    return median(times_s[_WARM_UP_CALLS:])
