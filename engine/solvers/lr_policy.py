"""Learning rate policies: how the rate depends on the iteration."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from farlayer.protos.errors import NetError

if TYPE_CHECKING:
    from farlayer.protos import caffe_pb2

    _Policy = Callable[[caffe_pb2.SolverParameter, int, int], float]


def current_step(param: caffe_pb2.SolverParameter, iteration: int, last_step: int) -> int:
    """The number of steps that the rate has gone down by, which `step` and `multistep` keep in the solver's state.

    Args:
        param: the solver's definition.
        iteration: the iteration whose rate is asked for.
        last_step: the number at the iteration before.
    """
    if param.lr_policy == "step":
        return iteration // param.stepsize
    if param.lr_policy == "multistep" and last_step < len(param.stepvalue) and iteration >= param.stepvalue[last_step]:
        return last_step + 1
    return last_step


def learning_rate(param: caffe_pb2.SolverParameter, iteration: int, step: int) -> float:
    """The rate at an iteration.

    fixed: base_lr. step, multistep: base_lr * gamma ^ step. exp: base_lr * gamma ^ iteration.
    inv: base_lr * (1 + gamma * iteration) ^ -power. poly: base_lr * (1 - iteration / max_iter) ^ power.
    sigmoid: base_lr / (1 + exp(-gamma * (iteration - stepsize))).

    Args:
        param: the solver's definition, checked by `check_policy`.
        iteration: from 0.
        step: what `current_step` says for that iteration.

    Source: Caffe, src/caffe/solvers/sgd_solver.cpp (GetLearningRate).
    """
    return _POLICIES[param.lr_policy](param, iteration, step)


def check_policy(param: caffe_pb2.SolverParameter) -> None:
    """Checks that the policy is known and has the constants that it needs.

    Raises:
        NetError: it is not, or has not.
    """
    policy = param.lr_policy
    if policy not in _POLICIES:
        raise NetError(
            f"solver: unknown lr_policy '{policy}'; known: {', '.join(sorted(_POLICIES))}",
            remedy="set lr_policy to one of the known ones",
        )
    if policy in {"step", "sigmoid"} and param.stepsize < 1:
        raise NetError(
            f"solver: lr_policy '{policy}' needs stepsize, which is {param.stepsize}",
            remedy="set stepsize to 1 or more",
        )
    if policy in {"step", "exp", "inv", "multistep", "sigmoid"} and param.gamma < 0:
        raise NetError(f"solver: lr_policy '{policy}' needs gamma of 0 or more, got {param.gamma}", remedy="set gamma")
    if policy == "poly" and param.max_iter < 1:
        raise NetError("solver: lr_policy 'poly' needs max_iter", remedy="set max_iter to 1 or more")


def _poly(param: caffe_pb2.SolverParameter, iteration: int, _: int) -> float:
    # Differs from Caffe: past max_iter, where Caffe's rate is not a number or grows again, it stays at its end.
    left = max(0.0, 1.0 - iteration / param.max_iter)
    return float(param.base_lr * left**param.power)


def _sigmoid(param: caffe_pb2.SolverParameter, iteration: int, _: int) -> float:
    # A large exponent means a rate of 0; math.exp would overflow.
    exponent = min(-param.gamma * (iteration - param.stepsize), 700.0)
    return param.base_lr / (1.0 + math.exp(exponent))


_POLICIES: dict[str, _Policy] = {
    "exp": lambda param, iteration, _: float(param.base_lr * param.gamma**iteration),
    "fixed": lambda param, iteration, step: param.base_lr,
    "inv": lambda param, iteration, _: float(param.base_lr * (1.0 + param.gamma * iteration) ** -param.power),
    "multistep": lambda param, _, step: float(param.base_lr * param.gamma**step),
    "poly": _poly,
    "sigmoid": _sigmoid,
    "step": lambda param, _, step: float(param.base_lr * param.gamma**step),
}
