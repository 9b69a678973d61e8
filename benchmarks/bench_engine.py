"""Times whole nets layer by layer, as `caffe time` does, with each set of kernels, and tells what memory they hold.

    python benchmarks/bench_engine.py [--net NAME ...] [--kernels NAME ...] [--repeats N] [--layers] [--json FILE]

Kernels alternate in rounds, so that other work on the machine meets all of them. "params" is backward of the net as it
is deployed, without a loss, which makes the gradients of the params alone; "full" is backward with force_backward.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nets import NETS
from rich.console import Console
from rich.table import Table

from farlayer.client import InProcessHost
from farlayer.engine.net import Net
from farlayer.engine.net_builder import build_net
from farlayer.engine.registry import known_types
from farlayer.engine.timing import NetTimer
from farlayer.protos import caffe_pb2

ORIGINAL_MS = {"LeNet": (4.3, 2.8), "CaffeNet": (116, 140), "GoogLeNet": (355, 181)}
"""Forward and backward of the original Caffe on two cores (AVX-512, OpenBLAS). Source: issue 3 of this project. Its
backward figures are those of `caffe time` on nets without a loss, as "params" here: 63 billion operations, which all
gradients of GoogLeNet take, are more than two such cores can do in 181 ms."""
TARGETS = {"numpy": 1.5, "torch": 0.8}
MEMORY_TARGET = 1.2
ROUNDS = 5
PAUSE_S = 0.1  # in which the threads of the kernels before cease to wait for work


@dataclass(frozen=True)
class Run:
    """One net with one set of kernels and one kind of backward."""

    name: str
    kernels: str
    backward: str
    net: Net
    timer: NetTimer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", action="append", choices=sorted(NETS), help="time this net; may be repeated")
    parser.add_argument("--kernels", action="append", choices=["numpy", "torch"], help="with these; may be repeated")
    parser.add_argument("--repeats", type=int, default=5, help=f"passes a round, of which there are {ROUNDS}")
    parser.add_argument("--layers", action="store_true", help="tell every layer's time, too")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()
    console = Console(width=120)
    all_kernels = options.kernels or ["numpy", *(["torch"] if importlib.util.find_spec("torch") else [])]
    figures = []
    for name in options.net or NETS:
        missing = missing_types(name)
        if missing:
            console.print(f"{name}: left out, since the engine does not have {', '.join(missing)}")
            continue
        runs = measure(name, all_kernels, options.repeats)
        figures += [figures_of(run) for run in runs]
        if options.layers:
            show_layers(console, name, runs)
    show(console, figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


def missing_types(name: str) -> list[str]:
    make, _ = NETS[name]
    return sorted({layer.type for layer in make(1).layer} - set(known_types()))


def measure(name: str, all_kernels: Sequence[str], repeats: int) -> list[Run]:
    """Times a net in rounds: with each set of kernels, backward for the params alone and for all."""
    make, batch = NETS[name]
    runs = []
    for kernels in all_kernels:
        for backward in ("params", "full"):
            param = make(batch)
            param.force_backward = backward == "full"
            net = build_net(param, caffe_pb2.TRAIN, host=InProcessHost(), rng=np.random.default_rng(1), kernels=kernels)
            fill(net)
            runs.append(Run(name, kernels, backward, net, NetTimer(net)))
    for _ in range(ROUNDS):
        for run in runs:
            time.sleep(PAUSE_S)
            run.timer.warm_up()
            for _ in range(repeats):
                run.timer.run()
    return runs


def fill(net: Net) -> None:
    """Gives inputs and the gradients of outputs values: zeros could be a special case of some kernel."""
    rng = np.random.default_rng(2)
    for name in net.inputs:
        net.blobs[name].data[...] = rng.standard_normal(net.blobs[name].shape, dtype=np.float32)
    for name in net.outputs:
        net.blobs[name].diff[...] = rng.standard_normal(net.blobs[name].shape, dtype=np.float32)


def figures_of(run: Run) -> dict[str, object]:
    held, needed = memory(run.net)
    return {
        "net": run.name,
        "kernels": run.kernels,
        "backward": run.backward,
        "forward_ms": milliseconds(run.timer.forward_s),
        "backward_ms": milliseconds(run.timer.backward_s),
        "held_bytes": held,
        "needed_bytes": needed,
        "layers": {
            layer.name: [layer.type_name, milliseconds(layer.forward_s), milliseconds(layer.backward_s)]
            for layer in run.timer.layers
        },
    }


def memory(net: Net) -> tuple[int, int]:
    """Bytes that a net holds, and those of its blobs and params, data and diffs, memory that several share once."""
    blobs = [*net.blobs.values(), *(blob for layer in net.layers for blob in layer.params)]
    segments = {id(segment): segment for blob in blobs for segment in blob.segments if segment is not None}
    needed = sum(segment.size_bytes for segment in segments.values())
    scratches = {id(scratch): scratch for layer in net.layers for scratch in (layer.scratch, layer.workspace)}
    return needed + sum(scratch.size_bytes for scratch in scratches.values()), needed


def milliseconds(seconds: Sequence[float]) -> float:
    return statistics.median(seconds) * 1e3


def show(console: Console, figures: Sequence[dict[str, object]]) -> None:
    table = Table(title="Whole nets, medians; x: the ratio to the original")
    for heading in ("net", "kernels", "forward ms", "x", "backward", "ms", "x", "target x", "held / blobs + params"):
        table.add_column(heading, justify="left" if heading in {"net", "kernels", "backward"} else "right")
    for row in figures:
        forward, backward = row["forward_ms"], row["backward_ms"]
        original = ORIGINAL_MS.get(row["net"])
        # Of all gradients there is no figure of the original.
        has_backward = original is not None and row["backward"] == "params"
        table.add_row(
            row["net"],
            row["kernels"],
            f"{forward:.2f}",
            f"{forward / original[0]:.2f}" if original else "-",
            row["backward"],
            f"{backward:.2f}",
            f"{backward / original[1]:.2f}" if has_backward else "-",
            f"{TARGETS[row['kernels']]}" if original else "-",
            f"{row['held_bytes'] / row['needed_bytes']:.3f} (target {MEMORY_TARGET})",
        )
    console.print(table)


def show_layers(console: Console, name: str, runs: Sequence[Run]) -> None:
    table = Table(title=f"{name}: ms forward / backward")
    table.add_column("layer")
    table.add_column("type")
    for run in runs:
        table.add_column(f"{run.kernels}, {run.backward}", justify="right")
    for layers in zip(*(run.timer.layers for run in runs), strict=True):
        cells = (f"{milliseconds(layer.forward_s):.2f} / {milliseconds(layer.backward_s):.2f}" for layer in layers)
        table.add_row(layers[0].name, layers[0].type_name, *cells)
    console.print(table)


if __name__ == "__main__":
    main()
