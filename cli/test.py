"""farlayer test: scores a trained net as `caffe test` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from farlayer.cli.caffe_flags import CaffeCommand
from farlayer.cli.console import Screen
from farlayer.cli.net_options import NetOptions, net_options, open_net

if TYPE_CHECKING:
    from farlayer.engine.net import Net


@click.command(cls=CaffeCommand, short_help="Score a trained net.")
@net_options(phase="TEST", iterations_help="Batches to run.", needs_weights=True)
@click.pass_obj
def test(screen: Screen, *, options: NetOptions) -> None:
    """Score a trained net: the mean of each of its outputs over a number of batches.

    Flags are those of `caffe test`, with one dash or two.
    """
    screen.configure_logging(options.host.log_level)
    run_test(options, screen)


def run_test(options: NetOptions, screen: Screen) -> None:
    """Runs the net, then tells its scores.

    Raises:
        FarlayerError: with a note that says how far it came.
        Interrupted: with the same as its story.
    """
    from farlayer.cli.layer_table import layer_table

    with open_net(options, screen) as net:
        _run(net, options.iterations, screen)
        if net.python_sessions:
            screen.out.print()
            screen.out.print(layer_table([session.report() for session in net.python_sessions], screen.out))


def _run(net: Net, iterations: int, screen: Screen) -> None:
    """Runs the batches and tells loss and outputs. Source: Caffe, tools/caffe.cpp (test)."""
    from farlayer.cli.counting import counted
    from farlayer.cli.formats import scores
    from farlayer.engine.solvers.means import OutputMeans

    means = OutputMeans()
    loss = 0.0
    with counted(range(iterations), "Testing", "batches", screen, iterations) as batches:
        for _ in batches:
            loss += net.forward()
            means.add(net)
    screen.fact("Tested", f"{iterations} batches")
    weights = net.loss_weights()
    if weights:
        screen.fact("Loss", f"{loss / iterations:.5g}")
    for name, values in means.means().items():
        weighted = f" (* {weights[name]:g} in the loss)" if name in weights else ""
        screen.fact("Output", scores({name: values}) + weighted)
