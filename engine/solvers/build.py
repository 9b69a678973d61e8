"""Builds a solver from its definition, and refuses what it cannot do."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from farlayer.engine.net import Net
from farlayer.engine.net_builder import build_net
from farlayer.engine.solvers.definitions import test_definitions, train_definition
from farlayer.engine.solvers.lr_policy import check_policy
from farlayer.engine.solvers.sgd import SGDSolver
from farlayer.engine.weights import load_weights
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError, SnapshotError

if TYPE_CHECKING:
    from farlayer.client.host import LayerHost
    from farlayer.engine.solvers.solver import Solver

logger = logging.getLogger(__name__)

SOLVER_TYPES: dict[str, type[Solver]] = {SGDSolver.type_name: SGDSolver}

_LEGACY_TYPES = {
    caffe_pb2.SolverParameter.SGD: "SGD",
    caffe_pb2.SolverParameter.NESTEROV: "Nesterov",
    caffe_pb2.SolverParameter.ADAGRAD: "AdaGrad",
    caffe_pb2.SolverParameter.RMSPROP: "RMSProp",
    caffe_pb2.SolverParameter.ADADELTA: "AdaDelta",
    caffe_pb2.SolverParameter.ADAM: "Adam",
}
_SUPPORTED = frozenset(
    {
        "average_loss",
        "base_lr",
        "clip_gradients",
        "display",
        "gamma",
        "iter_size",
        "lr_policy",
        "max_iter",
        "momentum",
        "net",
        "net_param",
        "power",
        "random_seed",
        "regularization_type",
        "snapshot",
        "snapshot_after_train",
        "snapshot_diff",
        "snapshot_format",
        "snapshot_prefix",
        "solver_type",
        "stepsize",
        "stepvalue",
        "test_compute_loss",
        "test_initialization",
        "test_interval",
        "test_iter",
        "test_net",
        "test_net_param",
        "test_state",
        "train_net",
        "train_net_param",
        "train_state",
        "type",
        "weight_decay",
        "weights",
    }
)
_WITHOUT_EFFECT = {
    "debug_info": "set logging to DEBUG instead",
    "delta": "other solver types use it",
    "device_id": "the engine runs on the CPU",
    "layer_wise_reduce": "there is one solver",
    "momentum2": "other solver types use it",
    "rms_decay": "other solver types use it",
    "solver_mode": "the engine runs on the CPU",
}


def build_solver(
    param: caffe_pb2.SolverParameter,
    *,
    host: LayerHost,
    base_dir: Path,
    check_finite: bool = False,
    kernels: str = "auto",
) -> Solver:
    """Builds the solver that a definition describes, with its train net and test nets.

    random_seed of 0 or more makes fillers and layers draw the same numbers in every run (not those of Caffe); without
    it they differ from run to run.

    Args:
        param: the definition; not changed.
        host: where Python layers live; the caller keeps and closes it.
        base_dir: the folder of the solver's file: nets that are not found from the working directory are looked for
            there.
        check_finite: whether a loss that is not finite stops the solver with the layer that it came from.

    Returns:
        The solver, which the caller closes. Nets that were built before an error are closed here.

    Raises:
        NetError: a field is wrong or not supported, or a net cannot be built.
        PrototxtError: a net's file is missing or malformed.
        SnapshotError: snapshots are wanted where none can be written, or `weights` do not fit.
        LayerLoadError, LayerError, WorkerError: a Python layer could not be set up.
    """
    definition = caffe_pb2.SolverParameter()
    definition.CopyFrom(param)
    solver_class = _solver_class(definition)
    _check_fields(definition)
    _check_snapshot_prefix(definition)
    definitions = [train_definition(definition, base_dir), *test_definitions(definition, base_dir)]
    rng = np.random.default_rng(definition.random_seed if definition.random_seed >= 0 else None)
    nets: list[Net] = []
    try:
        for net_param in definitions:
            phase = net_param.state.phase
            net = build_net(net_param, phase, host=host, rng=rng, check_finite=check_finite, kernels=kernels)
            nets.append(net)
        for path in (path for entry in definition.weights for path in entry.split(",")):
            for net in nets:
                load_weights(net, path)
    except BaseException:
        for net in nets:
            net.close()
        raise
    return solver_class(definition, nets[0], nets[1:])


def _solver_class(param: caffe_pb2.SolverParameter) -> type[Solver]:
    if param.HasField("solver_type"):
        if param.HasField("type"):
            raise NetError(
                "solver: both type and the older solver_type are given", remedy="keep type, remove solver_type"
            )
        param.type = _LEGACY_TYPES[param.solver_type]
        param.ClearField("solver_type")
    solver_class = SOLVER_TYPES.get(param.type)
    if solver_class is None:
        raise NetError(
            f"solver: unknown type '{param.type}'; known: {', '.join(sorted(SOLVER_TYPES))}",
            remedy="set type to one of the known ones; the others of Caffe come with a later version",
        )
    return solver_class


def _check_fields(param: caffe_pb2.SolverParameter) -> None:
    for field, value in param.ListFields():
        if field.name in _WITHOUT_EFFECT:
            logger.warning("solver: %s has no effect: %s", field.name, _WITHOUT_EFFECT[field.name])
        elif field.name not in _SUPPORTED:
            raise NetError(f"solver: field {field.name} ({value!r}) is not supported", remedy="remove it")
    check_policy(param)
    for name, count in (("iter_size", param.iter_size), ("average_loss", param.average_loss)):
        if count < 1:
            raise NetError(f"solver: {name} is {count}, expected 1 or more", remedy=f"correct {name}")
    if param.regularization_type not in {"L1", "L2"}:
        raise NetError(
            f"solver: unknown regularization_type '{param.regularization_type}'; known: L1, L2",
            remedy="set regularization_type to one of the known ones",
        )
    if param.snapshot_format != caffe_pb2.SolverParameter.BINARYPROTO:
        raise NetError(
            "solver: snapshot_format HDF5 is not supported in this version",
            remedy="use snapshot_format: BINARYPROTO; HDF5 comes with a later version",
        )


def _check_snapshot_prefix(param: caffe_pb2.SolverParameter) -> None:
    """Finds out before training, not at the first snapshot, that none can be written."""
    if not param.snapshot and not (param.snapshot_after_train and param.snapshot_prefix):
        return
    if not param.snapshot_prefix:
        raise NetError("solver: snapshot is given, but snapshot_prefix is not", remedy="set snapshot_prefix")
    folder = Path(param.snapshot_prefix + "_").parent
    if not folder.is_dir():
        raise SnapshotError(
            f"solver: snapshot_prefix '{param.snapshot_prefix}' lies in the folder '{folder}', which does not exist",
            remedy="make the folder, or change snapshot_prefix",
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SnapshotError(
            f"solver: snapshot_prefix '{param.snapshot_prefix}' lies in the folder '{folder}', "
            "which cannot be written to",
            remedy="change its permissions, or snapshot_prefix",
        )
