import math
from dataclasses import replace

import pytest

from farlayer.engine.prototxt import parse
from farlayer.engine.solvers.lr_policy import PolicyState, advance, check_policy, learning_rate
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError


def solver(text: str) -> caffe_pb2.SolverParameter:
    return parse(text, caffe_pb2.SolverParameter())


def rates(text: str, count: int, losses: list[float] | None = None) -> list[float]:
    """The rates of the first iterations."""
    param = solver("base_lr: 2 " + text)
    check_policy(param)
    state, result = PolicyState(), []
    for iteration in range(count):
        state = advance(param, state, iteration, losses[iteration] if losses else 1.0)
        result.append(learning_rate(param, iteration, state.step))
    return result


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('lr_policy: "fixed"', [2, 2, 2, 2]),
        ('lr_policy: "step" gamma: 0.5 stepsize: 2', [2, 2, 1, 1, 0.5]),
        ('lr_policy: "exp" gamma: 0.5', [2, 1, 0.5, 0.25]),
        ('lr_policy: "inv" gamma: 1 power: 2', [2, 2 / 4, 2 / 9]),
        ('lr_policy: "multistep" gamma: 0.5 stepvalue: 1 stepvalue: 3', [2, 1, 1, 0.5, 0.5]),
        ('lr_policy: "multistep" gamma: 0.5', [2, 2]),
        ('lr_policy: "poly" power: 2 max_iter: 4', [2, 2 * 9 / 16, 2 * 4 / 16, 2 / 16, 0, 0]),
        ('lr_policy: "poly" power: 1 max_iter: 2 min_lr: 1', [2, 1.5, 1, 1]),
        ('lr_policy: "sigmoid" gamma: 3 stepsize: 2', [2 / (1 + math.exp(-3 * at)) for at in (-2, -1, 0, 1)]),
        ('lr_policy: "cosine" max_iter: 4', [2, 1 + math.sqrt(0.5), 1, 1 - math.sqrt(0.5), 0, 0]),
        ('lr_policy: "cosine" max_iter: 2 min_lr: 1', [2, 1.5, 1, 1]),
        ('lr_policy: "multifixed" stagelr: 3 stagelr: 4 stageiter: 1 stageiter: 3', [3, 3, 4, 4, 4]),
        ('lr_policy: "exp" gamma: 0.5 min_lr: 0.4', [2, 1, 0.5, 0.4, 0.4]),
    ],
)
def test_the_rate_follows_its_formula(text: str, expected: list[float]) -> None:
    assert rates(text, len(expected)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('lr_policy: "fixed" warmup_iter: 4', [0, 0.5, 1, 1.5, 2, 2]),
        ('lr_policy: "fixed" warmup_iter: 2 warmup_start_lr: 1', [1, 1.5, 2]),
        # As in Intel's fork the policy counts from the first iteration, and steps wait for the end of the warm-up.
        ('lr_policy: "step" gamma: 0.5 stepsize: 2 warmup_iter: 3', [0, 2 / 3, 4 / 3, 1, 0.5]),
        ('lr_policy: "multistep" gamma: 0.5 stepvalue: 1 stepvalue: 2 warmup_iter: 3', [0, 2 / 3, 4 / 3, 1, 0.5]),
        # The cosine begins where the warm-up ends: no jump.
        ('lr_policy: "cosine" max_iter: 4 warmup_iter: 2', [0, 1, 2, 1, 0]),
        ('lr_policy: "cosine" max_iter: 2 warmup_iter: 3 min_lr: 0.5', [0, 2 / 3, 4 / 3, 0.5]),
        # Below min_lr while it warms up, which is what the two fields together say.
        ('lr_policy: "fixed" warmup_iter: 2 min_lr: 1.5', [0, 1, 2]),
    ],
)
def test_a_warm_up_precedes_any_policy(text: str, expected: list[float]) -> None:
    assert rates(text, len(expected)) == pytest.approx(expected)


def test_a_plateau_steps_down_when_the_least_loss_gets_old() -> None:
    text = 'lr_policy: "plateau" gamma: 0.5 plateau_winsize: 2 plateau_winsize: 1'
    losses = [5, 4, 4, 4, 3, 3, 2]
    assert rates(text, len(losses), losses) == [2, 2, 2, 1, 1, 0.5, 0.5]
    param, state = solver(f"base_lr: 2 {text}"), PolicyState()
    for iteration, loss in enumerate(losses[:4]):
        state = advance(param, state, iteration, loss)
    assert state == PolicyState(step=1, minimum_loss=4, last_event=3)


def test_without_a_window_left_a_plateau_only_remembers_the_least_loss() -> None:
    param = solver('base_lr: 2 lr_policy: "plateau" gamma: 0.5')
    state = advance(param, PolicyState(), 0, 3.0)
    assert advance(param, state, 100, 9.0) == replace(state, minimum_loss=3.0)


def test_a_sigmoid_far_away_does_not_overflow() -> None:
    assert rates('lr_policy: "sigmoid" gamma: 1 stepsize: 100000', 1) == pytest.approx([0])


def test_a_step_that_was_passed_before_a_restore_is_kept() -> None:
    param = solver('lr_policy: "multistep" gamma: 0.5 stepvalue: 1 stepvalue: 3')
    assert [advance(param, PolicyState(step), iteration, 0).step for iteration, step in ((2, 1), (3, 1), (4, 2))] == [
        1,
        2,
        2,
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unknown lr_policy ''; known: cosine, exp, fixed, inv"),
        ('lr_policy: "typo"', "unknown lr_policy 'typo'"),
        ('lr_policy: "step" gamma: 0.1', "needs stepsize, which is 0"),
        ('lr_policy: "exp" gamma: -1', "needs gamma of 0 or more, got -1.0"),
        ('lr_policy: "poly"', "'poly' needs max_iter"),
        ('lr_policy: "cosine"', "'cosine' needs max_iter"),
        ('lr_policy: "multifixed"', "needs a stageiter for each stagelr, got 0 for 0"),
        ('lr_policy: "multifixed" stagelr: 1 stagelr: 2 stageiter: 1', "for each stagelr, got 1 for 2"),
        ('lr_policy: "fixed" min_lr: -1', "min_lr is -1.0, expected 0 or more"),
        ('lr_policy: "fixed" warmup_iter: -1', "warmup_iter is -1, expected 0 or more"),
    ],
)
def test_a_policy_that_lacks_something_is_refused(text: str, message: str) -> None:
    with pytest.raises(NetError, match=message) as caught:
        check_policy(solver(text))
    assert caught.value.remedy
