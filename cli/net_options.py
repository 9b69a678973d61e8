"""The options of commands that run one net, and the net that they ask for: what `farlayer test` and `time` share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import click

from farlayer.cli.console import Screen
from farlayer.cli.options import KERNELS_OPTION, HostOptions, host_options, need_file, split_list

if TYPE_CHECKING:
    from farlayer.engine.net import Net

R = TypeVar("R")
_CAFFE_ITERATIONS = 50


@dataclass(frozen=True)
class NetOptions:
    """A net, and how often it runs.

    Attributes:
        model: path of the net's definition.
        weights: paths of .caffemodel or .caffemodel.h5 files; none for what the fillers make.
        iterations: how often it runs.
        phase: "TRAIN" or "TEST".
        level, stages: for include and exclude rules.
        kernels: whose code does the heavy arithmetic.
        host: where Python layers run.
    """

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


def net_options(
    *, phase: str, iterations_help: str, needs_weights: bool
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Adds the options of a net and of where its Python layers run; the command gets them as `options: NetOptions`.

    Args:
        phase: the default of --phase.
        iterations_help: what --iterations counts.
        needs_weights: whether --weights must be given.
    """
    if needs_weights:
        weights = click.option(
            "--weights", metavar="FILE,...", required=True, help="Its trained weights (.caffemodel, .h5)."
        )
    else:
        weights = click.option(
            "--weights", metavar="FILE,...", default="", help="Trained weights (.caffemodel, .h5).  [default: fillers]"
        )
    declared = (
        click.option("--model", metavar="FILE", required=True, help="The net's definition, a prototxt."),
        weights,
        click.option(
            "--iterations",
            type=click.IntRange(min=1),
            default=_CAFFE_ITERATIONS,
            show_default=True,
            help=iterations_help,
        ),
        click.option(
            "--phase",
            type=click.Choice(["TRAIN", "TEST"], case_sensitive=False),
            default=phase,
            show_default=True,
            help="Phase in which the net runs.",
        ),
        click.option("--level", type=int, help="Level of the net, for include and exclude rules."),
        click.option("--stage", metavar="STAGE,...", default="", help="Stages of the net, for the same."),
        KERNELS_OPTION,
        host_options(nets=True),
    )

    def decorate(command: Callable[..., R]) -> Callable[..., R]:
        @functools.wraps(command)
        def with_options(
            *args: object,
            model: str,
            weights: str,
            iterations: int,
            phase: str,
            level: int | None,
            stage: str,
            kernels: str,
            host: HostOptions,
            **kwargs: object,
        ) -> R:
            options = NetOptions(
                model=model,
                weights=split_list(weights),
                iterations=iterations,
                phase=phase,
                level=level,
                stages=split_list(stage),
                kernels=kernels,
                host=host,
            )
            return command(*args, options=options, **kwargs)

        decorated: Callable[..., object] = with_options
        for option in reversed(declared):
            decorated = option(decorated)
        return decorated  # type: ignore[return-value]  # click's decorators return what they are given

    return decorate


@contextmanager
def open_net(options: NetOptions, screen: Screen) -> Iterator[Net]:
    """Builds the net with its weights, its Python layers started; closes and ends all of it behind `with`.

    Raises:
        FarlayerError: the net cannot be built, or its weights do not fit.
    """
    from farlayer.cli.hosts import open_host
    from farlayer.engine.net_builder import build_net
    from farlayer.engine.prototxt import read_net
    from farlayer.engine.weights import load_weights
    from farlayer.protos import caffe_pb2

    definition = read_net(options.model)
    with open_host(options.host, screen) as host:
        with screen.status("Starting the Python layers"):
            net = build_net(
                definition,
                caffe_pb2.Phase.Value(options.phase),
                host=host,
                level=options.level,
                stages=options.stages,
                kernels=options.kernels,
            )
        with net:
            for path in options.weights:
                load_weights(net, path)
            yield net
