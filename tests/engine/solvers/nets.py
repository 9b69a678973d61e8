"""A small regression problem that solvers are tested on."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farlayer.client.in_process_host import InProcessHost
from farlayer.engine.prototxt import parse
from farlayer.engine.solvers import Solver, build_solver
from farlayer.protos import caffe_pb2
from tests.engine.support import net_param

NET = """
name: "regression"
layer { name: "x" type: "DummyData" top: "x" include { phase: TRAIN } dummy_data_param {
        shape { dim: 8 dim: 3 } data_filler { type: "gaussian" } } }
layer { name: "x" type: "DummyData" top: "x" include { phase: TEST } dummy_data_param {
        shape { dim: 4 dim: 3 } data_filler { type: "constant" value: 1 } } }
layer { name: "target" type: "InnerProduct" bottom: "x" top: "t" param { lr_mult: 0 decay_mult: 0 }
        inner_product_param { num_output: 2 bias_term: false weight_filler { type: "uniform" min: 1 max: 2 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" param { } param { lr_mult: 2 decay_mult: 0 }
        inner_product_param { num_output: 2 weight_filler { type: "gaussian" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""
LR_MULTS, DECAY_MULTS = (0, 1, 2), (0, 1, 0)
"""Those of the net's params: the weights of `target`, weights and bias of `ip`."""
SOLVER = 'base_lr: 0.1 lr_policy: "fixed" max_iter: 10 random_seed: 5 '


def solver_param(text: str = "", *, net: str = NET) -> caffe_pb2.SolverParameter:
    param = parse(SOLVER + text, caffe_pb2.SolverParameter())
    if not {field.name for field, _ in param.ListFields()} & {"net", "train_net", "train_net_param", "net_param"}:
        param.net_param.CopyFrom(net_param(net))
    return param


def make_solver(
    text: str = "", *, net: str = NET, base_lr: float = 0.1, base_dir: Path | None = None, check_finite: bool = False
) -> Solver:
    param = solver_param(text, net=net)
    param.base_lr = base_lr
    return build_solver(param, host=InProcessHost(), base_dir=base_dir or Path(), check_finite=check_finite)


def weights(solver: Solver) -> Sequence[list[float]]:
    return [blob.data.ravel().tolist() for blob in solver.net.learnable_params]


Doubles = NDArray[np.float64]
Formula = Callable[[Doubles, list[Doubles], float, int], Doubles]
"""From a gradient, the blobs that are kept for the param, its rate and the number of the update, from 1: the update.
What is kept is changed."""


def take_gradients(solver: Solver) -> list[Doubles]:
    """Runs forward and backward, and returns the gradients."""
    solver.net.clear_param_diffs()
    for _ in range(solver.param.iter_size):
        solver.net.forward()
        solver.net.backward()
    return [blob.diff.astype(np.float64) for blob in solver.net.learnable_params]


def check_updates(options: str, formula: Formula, num_histories: int = 1, *, rate: float = 0.1, steps: int = 4) -> None:
    """Compares some updates of a solver, its history and its diffs with those that a formula gives in float64."""
    solver = make_solver(options)
    params = solver.net.learnable_params
    kept = [[np.zeros(blob.shape) for _ in range(num_histories)] for blob in params]
    assert len(solver.history) == num_histories * len(params)
    for time in range(1, steps + 1):
        gradients = take_gradients(solver)
        before = [blob.data.astype(np.float64) for blob in params]
        solver.apply_update(rate)
        solver.iter += 1
        for index, blob in enumerate(params):
            update = formula(gradients[index], kept[index], rate * LR_MULTS[index], time)
            close = {"rtol": 1e-4, "atol": 1e-6, "err_msg": f"param {index} after update {time}"}
            np.testing.assert_allclose(blob.diff, update, **close)
            np.testing.assert_allclose(blob.data, before[index] - update, **close)
            for number, values in enumerate(kept[index]):
                np.testing.assert_allclose(solver.history[index + number * len(params)].data, values, **close)
