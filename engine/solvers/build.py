"""Builds a solver from its definition, and refuses what it cannot do."""

from __future__ import annotations

import logging
import math
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from farlayer.engine.net import Net
from farlayer.engine.net_builder import build_net
from farlayer.engine.optional import need
from farlayer.engine.solvers.adadelta import AdaDeltaSolver
from farlayer.engine.solvers.adagrad import AdaGradSolver
from farlayer.engine.solvers.adam import AdamSolver, AdamWSolver
from farlayer.engine.solvers.definitions import find_file, test_definitions, train_definition
from farlayer.engine.solvers.lr_policy import check_policy
from farlayer.engine.solvers.nesterov import NesterovSolver
from farlayer.engine.solvers.rmsprop import RMSPropSolver
from farlayer.engine.solvers.sgd import SGDSolver
from farlayer.engine.weights import load_weights
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError, SnapshotError

if TYPE_CHECKING:
    from farlayer.client.host import LayerHost
    from farlayer.engine.solvers.solver import Solver

logger = logging.getLogger(__name__)

SOLVER_TYPES: dict[str, type[Solver]] = {
    solver.type_name: solver
    for solver in (
        AdaDeltaSolver,
        AdaGradSolver,
        AdamSolver,
        AdamWSolver,
        NesterovSolver,
        RMSPropSolver,
        SGDSolver,
    )
}

_LEGACY_TYPES = {
    caffe_pb2.SolverParameter.SGD: "SGD",
    caffe_pb2.SolverParameter.NESTEROV: "Nesterov",
    caffe_pb2.SolverParameter.ADAGRAD: "AdaGrad",
    caffe_pb2.SolverParameter.RMSPROP: "RMSProp",
    caffe_pb2.SolverParameter.ADADELTA: "AdaDelta",
    caffe_pb2.SolverParameter.ADAM: "Adam",
}
_OF_SOME_TYPES = frozenset({"delta", "momentum", "momentum2", "rms_decay"})
_WITHOUT_EFFECT = {
    "ap_version": "no layer here scores detections",
    "device_id": "the engine runs on the CPU",
    "show_per_class_result": "no layer here scores detections",
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
        base_dir: the folder of the solver's file: nets and weights that are not found from the working directory are
            looked for there.
        check_finite: whether a loss that is not finite stops the solver with the layer that it came from.
        kernels: as for `build_net`.

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
    _check_fields(definition, solver_class)
    _check_snapshots(definition)
    definitions = [train_definition(definition, base_dir), *test_definitions(definition, base_dir)]
    rng = np.random.default_rng(definition.random_seed if definition.random_seed >= 0 else None)
    nets: list[Net] = []
    try:
        for net_param in definitions:
            phase = net_param.state.phase
            net = build_net(net_param, phase, host=host, rng=rng, check_finite=check_finite, kernels=kernels)
            net.debug_info = definition.debug_info
            nets.append(net)
        _check_names(definition, nets[0])
        for path in (path.strip() for entry in definition.weights for path in entry.split(",")):
            found = find_file(path, base_dir, "weights file")
            for net in nets:
                load_weights(net, found)
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
            remedy="set type to one of the known ones",
        )
    return solver_class


def _check_fields(param: caffe_pb2.SolverParameter, solver_class: type[Solver]) -> None:
    for field, value in param.ListFields():
        if field.name in _OF_SOME_TYPES:
            _check_field_of_type(param, field.name, value, solver_class)
        elif field.name in _WITHOUT_EFFECT:
            _note(field.name, _WITHOUT_EFFECT[field.name])
    if param.HasField("solver_mode") and param.solver_mode == caffe_pb2.SolverParameter.GPU:
        _note("solver_mode: GPU", "the engine runs on the CPU")
    if param.eval_type != "classification":
        if param.test_iter:
            raise NetError(
                f"solver: eval_type '{param.eval_type}' is not supported: tests tell the means of their nets' outputs",
                remedy="remove eval_type, and score in a Python layer of the test net; or remove the test nets",
            )
        _note("eval_type", "there are no test nets")
    check_policy(param)
    for name, count in (("iter_size", param.iter_size), ("average_loss", param.average_loss)):
        if count < 1:
            raise NetError(f"solver: {name} is {count}, expected 1 or more", remedy=f"correct {name}")
    for field, value in param.ListFields():
        if isinstance(value, float) and not math.isfinite(value):
            raise NetError(f"solver: {field.name} is {value}, expected a finite number", remedy=f"correct {field.name}")
    if param.regularization_type not in {"L1", "L2"}:
        raise NetError(
            f"solver: unknown regularization_type '{param.regularization_type}'; known: L1, L2",
            remedy="set regularization_type to one of the known ones",
        )


def _check_field_of_type(param: caffe_pb2.SolverParameter, name: str, value: float, solver_class: type[Solver]) -> None:
    if name in solver_class.fractions and not 0 <= value < 1:
        raise NetError(
            f"solver: {name} is {value:g}, expected 0 or more and less than 1 for type '{param.type}'",
            remedy=f"correct {name}",
        )
    if name in solver_class.uses:
        return
    if name == "momentum" and value:
        raise NetError(
            f"solver: momentum is {value:g}, but type '{param.type}' cannot be used with momentum",
            remedy="remove momentum, or use another type",
        )
    _note(name, f"type '{param.type}' does not use it")


def _note(field: str, reason: str) -> None:
    logger.warning("solver: %s has no effect: %s", field, reason)


def _check_names(param: caffe_pb2.SolverParameter, net: Net) -> None:
    """Finds out before training that an HDF5 file, which keeps params by names, cannot keep those of two layers."""
    if not _writes_snapshots(param) or param.snapshot_format != caffe_pb2.SolverParameter.HDF5:
        return
    names = [layer.name for layer in net.layers]
    of_params = Counter(layer.name for layer in net.layers if layer.params)
    fault = "a layer has no name" if "" in names else ""
    twice = next((name for name, count in of_params.items() if count > 1), "")
    if twice:
        fault = f"two layers with params are named '{twice}'"
    if fault:
        raise SnapshotError(
            f"solver: snapshot_format: HDF5 keeps weights by the names of layers, but {fault}",
            remedy="give layers distinct names, or use snapshot_format: BINARYPROTO",
            layer=twice,
        )


def _writes_snapshots(param: caffe_pb2.SolverParameter) -> bool:
    return bool(param.snapshot or (param.snapshot_after_train and param.snapshot_prefix))


def _check_snapshots(param: caffe_pb2.SolverParameter) -> None:
    """Finds out before training, not at the first snapshot, that none can be written."""
    if not _writes_snapshots(param):
        return
    if param.snapshot_format == caffe_pb2.SolverParameter.HDF5:
        need("h5py", "snapshot_format: HDF5")
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
