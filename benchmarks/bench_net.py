"""Training the digits net with its Python layers in workers, beside the same net in this process in the same run.

    OPENBLAS_NUM_THREADS=1 python benchmarks/bench_net.py [--json FILE]

Rounds of all ways alternate; a round is 100 iterations of examples/digits without tests and snapshots.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from farlayer.client import ClientOptions, InProcessHost, local_pool
from farlayer.engine.prototxt import read_solver
from farlayer.engine.solvers import build_solver

ROOT = Path(__file__).resolve().parents[1]
WAYS = {
    "in-process": None,
    "mailbox, shared": ClientOptions(),
    "gRPC, shared": ClientOptions(carrier="grpc"),
    "gRPC, streamed": ClientOptions(transport="streamed"),
}
ROUNDS = 7
ITERATIONS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT / "examples" / "digits"))
    figures = measure()
    show(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


def measure() -> dict[str, float]:
    """Median seconds an iteration, by way."""
    definition = read_solver("examples/digits/solver.prototxt")
    definition.max_iter = (ROUNDS + 1) * ITERATIONS
    for field in ("test_iter", "test_interval", "display", "snapshot"):
        definition.ClearField(field)
    definition.snapshot_after_train = False
    with ExitStack() as stack:
        solvers = {}
        for way, options in WAYS.items():
            host = stack.enter_context(InProcessHost() if options is None else local_pool(options=options))
            solvers[way] = stack.enter_context(build_solver(definition, host=host, base_dir=ROOT))
            solvers[way].step(ITERATIONS)
        times: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS):
            for way, solver in solvers.items():
                started = time.perf_counter()
                solver.step(ITERATIONS)
                times[way].append((time.perf_counter() - started) / ITERATIONS)
    return {way: statistics.median(found) for way, found in times.items()}


def show(figures: dict[str, float]) -> None:
    table = Table(title="Training examples/digits")
    for heading in ("Python layers", "ms an iteration", "ratio to in-process"):
        table.add_column(heading, justify="left" if heading == "Python layers" else "right")
    for way, seconds in figures.items():
        table.add_row(way, f"{seconds * 1e3:.2f}", f"{seconds / figures['in-process']:.2f}x")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
