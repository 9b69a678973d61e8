"""farlayer train: trains a net as `caffe train` does, its Python layers in worker processes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from farlayer.cli.caffe_flags import CaffeCommand
from farlayer.cli.console import Screen
from farlayer.cli.options import KERNELS_OPTION, HostOptions, host_options, need_file, split_list
from farlayer.cli.signal_effects import EFFECTS, SignalEffects
from farlayer.protos.errors import FarlayerError, InputError, NotFiniteError, SnapshotError

if TYPE_CHECKING:
    from farlayer.cli.history import RunHistory
    from farlayer.engine.solvers.solver import Solver
    from farlayer.protos.caffe_pb2 import SolverParameter

_NEED_GAMMA = {"step", "multistep", "exp"}


@dataclass(frozen=True)
class TrainOptions:
    """What `farlayer train` is told.

    Attributes:
        solver: path of the solver's definition.
        weights: paths of .caffemodel or .caffemodel.h5 files to start from.
        snapshot: path of a .solverstate or .solverstate.h5 to go on from; "" for none. Not together with weights.
        iterations: instead of the solver's max_iter; None to keep that.
        level, stages: of the train net, added to its train_state.
        stop_on_nan: whether a loss that is not finite ends the run.
        plot: path of a picture of the curves; "" for none.
        sigint_effect, sighup_effect: what these signals do.
        kernels: whose code does the heavy arithmetic.
        host: where Python layers run.
    """

    solver: str
    weights: tuple[str, ...]
    snapshot: str
    iterations: int | None
    level: int | None
    stages: tuple[str, ...]
    stop_on_nan: bool
    plot: str
    sigint_effect: str
    sighup_effect: str
    kernels: str
    host: HostOptions

    def __post_init__(self) -> None:
        if self.weights and self.snapshot:
            raise InputError(
                "--weights and --snapshot exclude each other",
                remedy="give --snapshot to go on with a run, --weights to start a new one from trained weights",
            )
        need_file(self.solver, "--solver")
        for path in self.weights:
            need_file(path, "--weights")
        if self.snapshot:
            need_file(self.snapshot, "--snapshot")
        if self.plot:
            from farlayer.cli.curves import check_plot

            check_plot(self.plot)


@click.command(cls=CaffeCommand, short_help="Train the net of a solver.")
@click.option("--solver", metavar="FILE", required=True, help="The solver's definition, a prototxt.")
@click.option("--weights", metavar="FILE,...", default="", help="Trained weights to start from (.caffemodel, .h5).")
@click.option("--snapshot", metavar="FILE", default="", help="State of a run to go on with (.solverstate, .h5).")
@click.option("--iterations", type=click.IntRange(min=0), help="Train to this iteration instead of max_iter.")
@click.option("--level", type=int, help="Level of the train net, for include and exclude rules.")
@click.option("--stage", metavar="STAGE,...", default="", help="Stages of the train net, for the same.")
@click.option("--stop-on-nan", is_flag=True, help="Stop at a loss that is not finite, and tell where it came from.")
@click.option("--plot", metavar="FILE.png", default="", help="Draw loss and test scores when done.  [needs matplotlib]")
@click.option(
    "--sigint-effect",
    type=click.Choice(EFFECTS),
    default="stop",
    show_default=True,
    help="What Ctrl-C does. Stop: after the running iteration, with a snapshot; a second one: at once.",
)
@click.option(
    "--sighup-effect",
    type=click.Choice(EFFECTS),
    default="snapshot",
    show_default=True,
    help="What SIGHUP does. Snapshot: writes one and goes on, also where the terminal is gone.",
)
@KERNELS_OPTION
@host_options(nets=True)
@click.pass_obj
def train(
    screen: Screen,
    *,
    host: HostOptions,
    solver: str,
    weights: str,
    snapshot: str,
    iterations: int | None,
    level: int | None,
    stage: str,
    stop_on_nan: bool,
    plot: str,
    sigint_effect: str,
    sighup_effect: str,
    kernels: str,
) -> None:
    """Train the net of a solver.

    Flags are those of `caffe train`, with one dash or two. A run that ends early, by an error or a signal, writes a
    snapshot of what it reached. Differs from Caffe: the folder of snapshot_prefix is made where only itself is
    missing; --iterations counts; a run that a signal ended has exit code 1; SIGTERM ends it in order, at once.
    """
    screen.configure_logging(host.log_level)
    options = TrainOptions(
        solver=solver,
        weights=split_list(weights),
        snapshot=snapshot,
        iterations=iterations,
        level=level,
        stages=split_list(stage),
        stop_on_nan=stop_on_nan,
        plot=plot,
        sigint_effect=sigint_effect,
        sighup_effect=sighup_effect,
        kernels=kernels,
        host=host,
    )
    run_training(options, screen)


def run_training(options: TrainOptions, screen: Screen) -> None:
    """Trains, then tells the results.

    Raises:
        FarlayerError: with a note that says how far the run came.
        Interrupted: with the same as its story.
    """
    from farlayer.cli.history import RunHistory
    from farlayer.cli.hosts import open_host
    from farlayer.cli.signals import Interrupted, interrupts
    from farlayer.engine.prototxt import read_solver
    from farlayer.engine.solvers import build_solver

    definition = _with_options(read_solver(options.solver), options)
    history = RunHistory()
    effects = SignalEffects(options.sigint_effect, options.sighup_effect, is_live=screen.is_live)
    solver: Solver | None = None
    try:
        with interrupts.handled_by(effects), open_host(options.host, screen) as host:
            _make_snapshot_folder(definition)
            with screen.status("Starting the Python layers"):
                solver = build_solver(
                    definition,
                    host=host,
                    base_dir=Path(options.solver).parent,
                    check_finite=options.stop_on_nan,
                    kernels=options.kernels,
                )
            _warn_of_what_is_missing(solver, screen)
            with solver:
                _train(solver, history, effects, options, screen)
    except Interrupted as interruption:
        place = f"at {history.position(solver.iter)}" if solver is not None else "before training began"
        interruption.story = f"interrupted {place}"
        raise
    except FarlayerError as error:
        if solver is not None:
            error.add_note(f"at {history.position(solver.iter)}")
        raise


def _with_options(definition: SolverParameter, options: TrainOptions) -> SolverParameter:
    """Enters the options into a definition. Source: Caffe, tools/caffe.cpp (train)."""
    if options.snapshot or options.weights:
        del definition.weights[:]
        definition.weights.extend(options.weights)
    if options.level is not None:
        definition.train_state.level = options.level
    definition.train_state.stage.extend(options.stages)
    if options.iterations is not None:
        definition.max_iter = options.iterations
    return definition


def _make_snapshot_folder(definition: SolverParameter) -> None:
    """Makes the last folder of snapshot_prefix; that more than it is missing is for the engine to tell."""
    folder = Path(definition.snapshot_prefix + "_").parent
    if definition.snapshot_prefix and not folder.exists() and folder.parent.is_dir():
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(
                f"the folder '{folder}' of snapshot_prefix cannot be made: {error.strerror}",
                remedy="make it, or change snapshot_prefix",
            ) from error


def _warn_of_what_is_missing(solver: Solver, screen: Screen) -> None:
    """Caffe runs such solvers in silence; a forgotten field, or loss_weight of a Python layer, is easily made."""
    param = solver.param
    if not solver.net.loss_weights():
        screen.warn(
            "the train net has no loss, so nothing is learned; a Python layer is a loss only with `loss_weight: 1`"
        )
    if not param.base_lr and param.lr_policy != "multifixed":
        screen.warn("solver: base_lr is 0, so nothing is learned")
    if not param.gamma and param.lr_policy in _NEED_GAMMA:
        screen.warn(
            f"solver: gamma is 0, and so is the learning rate from the first step of lr_policy '{param.lr_policy}' on"
        )
    if param.test_interval and not solver.test_nets:
        screen.warn("solver: test_interval is given, but no test_iter, so nothing is tested")


def _train(solver: Solver, history: RunHistory, effects: SignalEffects, options: TrainOptions, screen: Screen) -> None:
    from farlayer.cli.curves import write_curves
    from farlayer.cli.layer_table import layer_table
    from farlayer.cli.progress import shown_progress
    from farlayer.cli.signals import Interrupted, interrupts

    if options.snapshot:
        solver.restore(options.snapshot)
    first = solver.iter
    if first >= solver.param.max_iter:
        screen.warn(f"nothing is trained: the run begins at iteration {first}, and max_iter is {solver.param.max_iter}")
    solver.add_listener(history)
    solver.update_guard = interrupts.shield
    started = time.monotonic()
    try:
        with shown_progress(screen, solver), effects.on(solver):
            solver.solve()
    except (NotFiniteError, SnapshotError):
        raise  # what was reached is of no use, or was just found impossible to write
    except (FarlayerError, Interrupted):
        if solver.iter > first:
            _save_what_was_reached(solver, screen)
        interrupts.last_words = f"interrupted at {history.position(solver.iter)}"
        raise
    if solver.was_stopped:
        interrupts.last_words = f"interrupted at {history.position(solver.iter)}"
        interrupts.raise_now()
    _tell_results(solver, history, solver.iter - first, time.monotonic() - started, screen)
    if options.plot:
        losses = {name for net in (solver.net, *solver.test_nets) for name in net.loss_weights()}
        write_curves(history, options.plot, title=solver.net.name or Path(options.solver).stem, losses=losses)
        screen.fact("Curves", options.plot)
    sessions = [session for net in (solver.net, *solver.test_nets) for session in net.python_sessions]
    if sessions:
        screen.out.print()
        screen.out.print(layer_table([session.report() for session in sessions], screen.out))


def _save_what_was_reached(solver: Solver, screen: Screen) -> None:
    """Writes the snapshot of a run that ends early, where it would have had one at its end. A failure is only told."""
    from farlayer.cli.signals import interrupts

    wanted = solver.param.snapshot_prefix and solver.param.snapshot_after_train
    if not wanted or solver.last_snapshot == solver.iter:
        return
    try:
        with interrupts.shield():
            solver.snapshot()
    except FarlayerError as error:
        screen.warn(f"no snapshot of iteration {solver.iter} was written: {error}")


def _tell_results(solver: Solver, history: RunHistory, done: int, took_s: float, screen: Screen) -> None:
    from farlayer.cli.formats import scores

    rate = f" in {took_s:.1f} s, {done / took_s:.1f} a second" if done and took_s else ""
    screen.fact(
        "Trained", f"{done} iterations{rate}" + (f", to iteration {solver.iter}" if solver.iter != done else "")
    )
    if history.losses:
        screen.fact("Loss", f"{history.losses[-1]:.5g}")
        if not math.isfinite(history.losses[-1]):
            screen.warn("the loss is not finite; with --stop-on-nan the run stops there and tells where it came from")
    for result in history.last_tests:
        net = f" net #{result.net}" if len(solver.test_nets) > 1 else ""
        screen.fact(f"Test{net}", f"{scores(result.outputs)} (iteration {result.iteration})")
    if history.snapshot:
        screen.fact("Snapshot", str(history.snapshot[0]))
        screen.fact("", str(history.snapshot[1]))
