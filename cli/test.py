"""farlayer test: scores a trained net as `caffe test` does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from farlayer.cli.caffe_flags import CaffeCommand
from farlayer.cli.console import Screen
from farlayer.cli.options import KERNELS_OPTION, HostOptions, host_options, need_file, split_list

if TYPE_CHECKING:
    from farlayer.engine.net import Net

_CAFFE_ITERATIONS = 50


@dataclass(frozen=True)
class TestOptions:
    """What `farlayer test` is told.

    Attributes:
        model: path of the net's definition.
        weights: paths of .caffemodel or .caffemodel.h5 files.
        iterations: how many batches to run.
        phase: "TRAIN" or "TEST".
        level, stages: for include and exclude rules.
        kernels: whose code does the heavy arithmetic.
        host: where Python layers run.
    """

    __test__ = False  # for pytest: not one of its classes

    model: str
    weights: tuple[str, ...]
    iterations: int
    phase: str
    level: int | None
    stages: tuple[str, ...]
    kernels: str
    host: HostOptions

    def __post_init__(self) -> None:
        need_file(self.model, "--model")
        for path in self.weights:
            need_file(path, "--weights")


@click.command(cls=CaffeCommand, short_help="Score a trained net.")
@click.option("--model", metavar="FILE", required=True, help="The net's definition, a prototxt.")
@click.option("--weights", metavar="FILE,...", required=True, help="Its trained weights (.caffemodel, .h5).")
@click.option(
    "--iterations", type=click.IntRange(min=1), default=_CAFFE_ITERATIONS, show_default=True, help="Batches to run."
)
@click.option(
    "--phase",
    type=click.Choice(["TRAIN", "TEST"], case_sensitive=False),
    default="TEST",
    show_default=True,
    help="Phase in which the net runs.",
)
@click.option("--level", type=int, help="Level of the net, for include and exclude rules.")
@click.option("--stage", metavar="STAGE,...", default="", help="Stages of the net, for the same.")
@KERNELS_OPTION
@host_options(nets=True)
@click.pass_obj
def test(
    screen: Screen,
    *,
    host: HostOptions,
    model: str,
    weights: str,
    iterations: int,
    phase: str,
    level: int | None,
    stage: str,
    kernels: str,
) -> None:
    """Score a trained net: the mean of each of its outputs over a number of batches.

    Flags are those of `caffe test`, with one dash or two.
    """
    screen.configure_logging(host.log_level)
    options = TestOptions(model, split_list(weights), iterations, phase, level, split_list(stage), kernels, host)
    run_test(options, screen)


def run_test(options: TestOptions, screen: Screen) -> None:
    """Runs the net, then tells its scores.

    Raises:
        FarlayerError: with a note that says how far it came.
        Interrupted: with the same as its story.
    """
    from farlayer.cli.hosts import open_host
    from farlayer.cli.layer_table import layer_table
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
            _run(net, options.iterations, screen)
            if net.python_sessions:
                screen.out.print()
                screen.out.print(layer_table([session.report() for session in net.python_sessions], screen.out))


def _run(net: Net, iterations: int, screen: Screen) -> None:
    """Runs the batches and tells loss and outputs. Source: Caffe, tools/caffe.cpp (test)."""
    from rich.progress import track

    from farlayer.cli.formats import scores
    from farlayer.cli.signals import Interrupted, interrupts
    from farlayer.engine.solvers.means import OutputMeans
    from farlayer.protos.errors import FarlayerError

    means = OutputMeans()
    loss = 0.0
    done = 0
    try:
        for _ in track(range(iterations), "Testing", console=screen.err, transient=True, disable=not screen.is_live):
            interrupts.check()
            loss += net.forward()
            means.add(net)
            done += 1
    except Interrupted as interruption:
        interruption.story = f"interrupted after {done} of {iterations} batches"
        raise
    except FarlayerError as error:
        error.add_note(f"after {done} of {iterations} batches")
        raise
    screen.fact("Tested", f"{iterations} batches")
    weights = net.loss_weights()
    if weights:
        screen.fact("Loss", f"{loss / iterations:.5g}")
    for name, values in means.means().items():
        weighted = f" (* {weights[name]:g} in the loss)" if name in weights else ""
        screen.fact("Output", scores({name: values}) + weighted)
