"""Learning rate policies: how the rate depends on the iteration, and on the loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from farlayer.protos.errors import NetError

if TYPE_CHECKING:
    from farlayer.protos import caffe_pb2

    _Policy = Callable[[caffe_pb2.SolverParameter, int, int], float]

_LARGEST_LOSS = 1e38
"""What SolverState has for a loss that was never seen."""


@dataclass(frozen=True)
class PolicyState:
    """What a policy remembers, and a solver keeps in its snapshots.

    Attributes:
        step: how often the rate has gone down, for step, multistep and plateau.
        minimum_loss: the least loss so far, for plateau.
        last_event: the iteration at which the least loss or the step changed last, for plateau.
    """

    step: int = 0
    minimum_loss: float = _LARGEST_LOSS
    last_event: int = 0


def advance(param: caffe_pb2.SolverParameter, state: PolicyState, iteration: int, loss: float) -> PolicyState:
    """The state for an iteration's update. While the rate warms up the state stays.

    Args:
        param: the solver's definition, checked by `check_policy`.
        state: as the update before left it.
        iteration: from 0.
        loss: the mean of the last average_loss losses.
    """
    if iteration < param.warmup_iter:
        return state
    if param.lr_policy == "step":
        return replace(state, step=iteration // param.stepsize)
    if param.lr_policy == "multistep":
        due = state.step < len(param.stepvalue) and iteration >= param.stepvalue[state.step]
        return replace(state, step=state.step + 1) if due else state
    if param.lr_policy == "plateau":
        return _advance_plateau(param, state, iteration, loss)
    return state


def learning_rate(param: caffe_pb2.SolverParameter, iteration: int, step: int) -> float:
    """The rate at an iteration.

    fixed: base_lr. step, multistep, plateau: base_lr * gamma ^ step. exp: base_lr * gamma ^ iteration.
    inv: base_lr * (1 + gamma * iteration) ^ -power. sigmoid: base_lr / (1 + exp(-gamma * (iteration - stepsize))).
    poly: min_lr + (base_lr - min_lr) * (1 - iteration / max_iter) ^ power.
    multifixed: stagelr of the first stage whose stageiter is not below the iteration, or of the last stage.
    cosine: min_lr + (base_lr - min_lr) * (1 + cos(pi * t)) / 2, where t goes from 0 at warmup_iter to 1 at max_iter.
    No rate is below min_lr, where it is given. In the first warmup_iter iterations, whatever the policy, the rate goes
    from warmup_start_lr to base_lr in a straight line.

    Args:
        param: the solver's definition, checked by `check_policy`.
        iteration: from 0.
        step: that of the state that `advance` gives for the iteration.

    Source: Caffe, src/caffe/solvers/sgd_solver.cpp (GetLearningRate). Beyond Caffe: plateau is SSD's; multifixed and
    the warm-up are those of Intel's fork, min_lr is of NVIDIA's; cosine is that of "SGDR" (Loshchilov and Hutter, 2016)
    without restarts.
    """
    if iteration < param.warmup_iter:
        return param.warmup_start_lr + (param.base_lr - param.warmup_start_lr) * iteration / param.warmup_iter
    rate = _POLICIES[param.lr_policy](param, iteration, step)
    return max(rate, param.min_lr) if param.HasField("min_lr") else rate


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
    if policy in {"step", "exp", "inv", "multistep", "sigmoid", "plateau"} and param.gamma < 0:
        raise NetError(f"solver: lr_policy '{policy}' needs gamma of 0 or more, got {param.gamma}", remedy="set gamma")
    if policy in {"poly", "cosine"} and param.max_iter < 1:
        raise NetError(f"solver: lr_policy '{policy}' needs max_iter", remedy="set max_iter to 1 or more")
    if policy == "multifixed" and (not param.stagelr or len(param.stagelr) != len(param.stageiter)):
        raise NetError(
            f"solver: lr_policy 'multifixed' needs a stageiter for each stagelr, got {len(param.stageiter)} for "
            f"{len(param.stagelr)}",
            remedy="give stagelr and stageiter once for each stage",
        )
    for name, value in (("min_lr", param.min_lr), ("warmup_iter", param.warmup_iter)):
        if value < 0:
            raise NetError(f"solver: {name} is {value}, expected 0 or more", remedy=f"correct {name}")


def _advance_plateau(param: caffe_pb2.SolverParameter, state: PolicyState, iteration: int, loss: float) -> PolicyState:
    """A step down where the least loss was not beaten for plateau_winsize iterations; each step has its own number."""
    if loss < state.minimum_loss:
        state = replace(state, minimum_loss=loss, last_event=iteration)
    windows = param.plateau_winsize
    if state.step < len(windows) and iteration >= state.last_event + windows[state.step]:
        state = replace(state, step=state.step + 1, last_event=iteration)
    return state


def _stepped(param: caffe_pb2.SolverParameter, _: int, step: int) -> float:
    return float(param.base_lr * param.gamma**step)


def _poly(param: caffe_pb2.SolverParameter, iteration: int, _: int) -> float:
    # Differs from Caffe: past max_iter, where Caffe's rate is not a number or grows again, it stays at its end.
    left = max(0.0, 1.0 - iteration / param.max_iter)
    return float(param.min_lr + (param.base_lr - param.min_lr) * left**param.power)


def _sigmoid(param: caffe_pb2.SolverParameter, iteration: int, _: int) -> float:
    # A large exponent means a rate of 0; math.exp would overflow.
    exponent = min(-param.gamma * (iteration - param.stepsize), 700.0)
    return param.base_lr / (1.0 + math.exp(exponent))


def _multifixed(param: caffe_pb2.SolverParameter, iteration: int, _: int) -> float:
    last = len(param.stagelr) - 1
    return param.stagelr[next((stage for stage, end in enumerate(param.stageiter) if iteration <= end), last)]


def _cosine(param: caffe_pb2.SolverParameter, iteration: int, _: int) -> float:
    length = param.max_iter - param.warmup_iter
    done = min((iteration - param.warmup_iter) / length, 1.0) if length > 0 else 1.0
    return param.min_lr + (param.base_lr - param.min_lr) * (1 + math.cos(math.pi * done)) / 2


_POLICIES: dict[str, _Policy] = {
    "cosine": _cosine,
    "exp": lambda param, iteration, _: float(param.base_lr * param.gamma**iteration),
    "fixed": lambda param, iteration, step: param.base_lr,
    "inv": lambda param, iteration, _: float(param.base_lr * (1.0 + param.gamma * iteration) ** -param.power),
    "multifixed": _multifixed,
    "multistep": _stepped,
    "plateau": _stepped,
    "poly": _poly,
    "sigmoid": _sigmoid,
    "step": _stepped,
}
