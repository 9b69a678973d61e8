"""What a call of a remote layer costs, beside the same layer in this process in the same run.

    python benchmarks/bench_carriers.py [--json FILE]

One layer (farlayer.worker.probe.EchoLayer: top = bottom) is called over each carrier and transport with several
payloads. Rounds of all ways alternate, so that a noisy machine is equally noisy for each. "changed" fills the bottom
before each call, outside the timed part, as a net does; a streamed call must then send it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from farlayer.client import ClientOptions, InProcessHost, RemoteLayer, local_pool

WAYS = {
    "in-process": None,
    "mailbox, shared": ClientOptions(),
    "gRPC, shared": ClientOptions(carrier="grpc"),
    "gRPC, streamed": ClientOptions(transport="streamed"),
}
PAYLOADS = {"4 B": 1, "4 KiB": 1 << 10, "256 KiB": 1 << 16, "4 MiB": 1 << 20, "64 MiB": 1 << 24}
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()
    figures = measure()
    show(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


def measure() -> dict[str, dict[str, float]]:
    """Median seconds a forward, by payload and way."""
    figures: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        hosts = {
            way: stack.enter_context(InProcessHost() if options is None else local_pool(workers=1, options=options))
            for way, options in WAYS.items()
        }
        for payload, count in PAYLOADS.items():
            layers = {way: host.layer("farlayer.worker.probe", "EchoLayer") for way, host in hosts.items()}
            for layer in layers.values():
                layer.forward(np.zeros(count, np.float32))
            calls = max(3, min(300, (1 << 24) // count))
            times: dict[str, list[float]] = {way: [] for way in WAYS}
            for _ in range(ROUNDS):
                for way, layer in layers.items():
                    times[way] += [timed_forward(layer, number) for number in range(calls)]
            figures[payload] = {way: statistics.median(found) for way, found in times.items()}
            for layer in layers.values():
                layer.close()
    return figures


def timed_forward(layer: RemoteLayer, number: int) -> float:
    layer.bottom[0].data[...] = number
    started = time.perf_counter()
    layer.session.forward()
    return time.perf_counter() - started


def show(figures: dict[str, dict[str, float]]) -> None:
    table = Table(title="Forward of an identity layer, median (and ratio to in-process in the same run)")
    table.add_column("payload there and back")
    for way in WAYS:
        table.add_column(way, justify="right")
    for payload, found in figures.items():
        base = found["in-process"]
        table.add_row(payload, *(f"{seconds * 1e6:,.0f} us ({seconds / base:.2f}x)" for seconds in found.values()))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
