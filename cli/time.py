"""farlayer time: times the layers of a net as `caffe time` does."""

from __future__ import annotations

import json
from statistics import fmean, median
from typing import TYPE_CHECKING

import click

from farlayer.cli.caffe_flags import CaffeCommand
from farlayer.cli.console import Screen
from farlayer.cli.net_options import NetOptions, net_options, open_net

if TYPE_CHECKING:
    from rich.table import Table

    from farlayer.engine.net import Net
    from farlayer.engine.timing import NetTimer

_MS = 1e3


@click.command(cls=CaffeCommand, short_help="Time the layers of a net.")
@net_options(phase="TRAIN", iterations_help="How many times forward and backward run.", needs_weights=False)
@click.option("--json", "as_json", is_flag=True, help="Tell the results as JSON, in milliseconds.")
@click.pass_obj
def time(screen: Screen, *, options: NetOptions, as_json: bool) -> None:
    """Time a net: how long each layer takes forward and backward, and the whole passes.

    Flags are those of `caffe time`, with one dash or two. Times are means over all iterations. A layer that learns runs
    backward also where no loss depends on it, as in a net for deployment.
    """
    screen.configure_logging(options.host.log_level)
    run_time(options, screen, as_json=as_json)


def run_time(options: NetOptions, screen: Screen, *, as_json: bool) -> None:
    """Times the net, then tells what it took.

    Raises:
        FarlayerError: with a note that says how far it came.
        Interrupted: with the same as its story.
    """
    with open_net(options, screen) as net:
        timer = _run(net, options.iterations, screen)
    if as_json:
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
    from farlayer.cli.counting import counted
    from farlayer.engine.timing import NetTimer

    timer = NetTimer(net)
    with counted(range(iterations), "Timing", "iterations", screen, iterations) as rounds:
        timer.warm_up()
        for _ in rounds:
            timer.run()
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


def _as_json(net: Net, timer: NetTimer, options: NetOptions) -> dict[str, object]:
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
