"""A small regression problem that solvers are tested on."""

from collections.abc import Sequence
from pathlib import Path

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
