"""farlayer time: times the layers of a net as `caffe time` does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING

import click

from farlayer.cli.caffe_flags import CaffeCommand
from farlayer.cli.console import Screen
from farlayer.cli.options import KERNELS_OPTION, HostOptions, host_options, need_file, split_list

if TYPE_CHECKING:
    from rich.table import Table

    from farlayer.engine.net import Net
    from farlayer.engine.timing import NetTimer

_CAFFE_ITERATIONS = 50
_MS = 1e3


@dataclass(frozen=True)
class TimeOptions:
    """What `farlayer time` is told.

    Attributes:
        model: path of the net's definition.
        weights: paths of .caffemodel files; none for what the fillers make.
        iterations: how many times both passes are timed.
        phase: "TRAIN" or "TEST".
        level, stages: for include and exclude rules.
        as_json: whether results are told as JSON.
        kernels: whose code does the heavy arithmetic.
        host: where Python layers run.
    """

    model: str
    weights: tuple[str, ...]
    iterations: int
    phase: str
    level: int | None
    stages: tuple[str, ...]
    as_json: bool
    kernels: str
    host: HostOptions

    def __post_init__(self) -> None:
        need_file(self.model, "--model")
        for path in self.weights:
            need_file(path, "--weights")


@click.command(cls=CaffeCommand, short_help="Time the layers of a net.")
@click.option("--model", metavar="FILE", required=True, help="The net's definition, a prototxt.")
@click.option("--weights", metavar="FILE,...", default="", help="Trained weights (.caffemodel).  [default: fillers]")
@click.option(
    "--iterations",
    type=click.IntRange(min=1),
    default=_CAFFE_ITERATIONS,
    show_default=True,
    help="How many times forward and backward run.",
)
@click.option(
    "--phase",
    type=click.Choice(["TRAIN", "TEST"], case_sensitive=False),
    default="TRAIN",
    show_default=True,
    help="Phase in which the net runs.",
)
@click.option("--level", type=int, help="Level of the net, for include and exclude rules.")
@click.option("--stage", metavar="STAGE,...", default="", help="Stages of the net, for the same.")
@click.option("--json", "as_json", is_flag=True, help="Tell the results as JSON, in milliseconds.")
@KERNELS_OPTION
@host_options(nets=True)
@click.pass_obj
def time(
    screen: Screen,
    *,
    host: HostOptions,
    model: str,
    weights: str,
    iterations: int,
    phase: str,
    level: int | None,
    stage: str,
    as_json: bool,
    kernels: str,
) -> None:
    """Time a net: how long each layer takes forward and backward, and the whole passes.

    Flags are those of `caffe time`, with one dash or two. Times are means over all iterations. A layer that learns runs
    backward also where no loss depends on it, as in a net for deployment.
    """
    screen.configure_logging(host.log_level)
    options = TimeOptions(
        model, split_list(weights), iterations, phase, level, split_list(stage), as_json, kernels, host
    )
    run_time(options, screen)


def run_time(options: TimeOptions, screen: Screen) -> None:
    """Times the net, then tells what it took.

    Raises:
        FarlayerError: with a note that says how far it came.
        Interrupted: with the same as its story.
    """
    from farlayer.cli.hosts import open_host
    from farlayer.engine.net_builder import build_net
    from farlayer.engine.prototxt import read_net
    from farlayer.engine.weights import load_weights
    from farlayer.protos import caffe_pb2

    definition = read_net(options.model)
    phase = caffe_pb2.Phase.Value(options.phase)
    with open_host(options.host, screen) as host:
        with screen.status("Starting the Python layers"):
            net = build_net(
                definition,
                phase,
                host=host,
                level=options.level,
                stages=options.stages,
                kernels=options.kernels,
            )
        with net:
            for path in options.weights:
                load_weights(net, path)
            timer = _run(net, options.iterations, screen)
    if options.as_json:
        screen.out.print(json.dumps(_as_json(net, timer, options), indent=1), soft_wrap=True, markup=False)
        return
    screen.out.print(_table(timer))
    screen.out.print()
    screen.fact("Timed", f"{options.iterations} iterations")
    forward_ms, backward_ms = fmean(timer.forward_s) * _MS, fmean(timer.backward_s) * _MS
    screen.fact("Forward", f"{forward_ms:.3f} ms on average")
    screen.fact("Backward", f"{backward_ms:.3f} ms on average")
    screen.fact("Both", f"{forward_ms + backward_ms:.3f} ms on average")
    screen.fact("Total", f"{(sum(timer.forward_s) + sum(timer.backward_s)) * _MS:.1f} ms")


def _run(net: Net, iterations: int, screen: Screen) -> NetTimer:
    from rich.progress import track

    from farlayer.cli.signals import Interrupted, interrupts
    from farlayer.engine.timing import NetTimer
    from farlayer.protos.errors import FarlayerError

    timer = NetTimer(net)
    done = 0
    try:
        timer.warm_up()
        for _ in track(range(iterations), "Timing", console=screen.err, transient=True, disable=not screen.is_live):
            interrupts.check()
            timer.run()
            done += 1
    except Interrupted as interruption:
        interruption.story = f"interrupted after {done} of {iterations} iterations"
        raise
    except FarlayerError as error:
        error.add_note(f"after {done} of {iterations} iterations")
        raise
    return timer


def _table(timer: NetTimer) -> Table:
    """One row a layer; the share is that of both passes in those of all layers."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("Layer", "Type"):
        table.add_column(heading, overflow="fold")
    for heading in ("Forward ms", "Backward ms", "Share"):
        table.add_column(heading, justify="right", no_wrap=True)
    rows = [(layer, fmean(layer.forward_s) * _MS, fmean(layer.backward_s) * _MS) for layer in timer.layers]
    total_ms = sum(forward_ms + backward_ms for _, forward_ms, backward_ms in rows)
    for layer, forward_ms, backward_ms in rows:
        share = (forward_ms + backward_ms) / total_ms
        cells = (layer.name, layer.type_name, f"{forward_ms:.3f}", f"{backward_ms:.3f}", f"{share:.1%}")
        table.add_row(*map(Text, cells))
    return table


def _as_json(net: Net, timer: NetTimer, options: TimeOptions) -> dict[str, object]:
    return {
        "net": net.name,
        "phase": options.phase,
        "iterations": options.iterations,
        "forward_ms": _summary(timer.forward_s),
        "backward_ms": _summary(timer.backward_s),
        "layers": [
            {
                "name": layer.name,
                "type": layer.type_name,
                "forward_ms": _summary(layer.forward_s),
                "backward_ms": _summary(layer.backward_s),
            }
            for layer in timer.layers
        ],
    }


def _summary(seconds: list[float]) -> dict[str, float]:
    return {"mean": fmean(seconds) * _MS, "median": median(seconds) * _MS}
