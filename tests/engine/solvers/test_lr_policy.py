import math

import pytest

from farlayer.engine.prototxt import parse
from farlayer.engine.solvers.lr_policy import check_policy, current_step, learning_rate
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError


def solver(text: str) -> caffe_pb2.SolverParameter:
    return parse(text, caffe_pb2.SolverParameter())


def rates(text: str, count: int) -> list[float]:
    """The rates of the first iterations."""
    param = solver("base_lr: 2 " + text)
    check_policy(param)
    step, result = 0, []
    for iteration in range(count):
        step = current_step(param, iteration, step)
        result.append(learning_rate(param, iteration, step))
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
        ('lr_policy: "sigmoid" gamma: 3 stepsize: 2', [2 / (1 + math.exp(-3 * at)) for at in (-2, -1, 0, 1)]),
    ],
)
def test_the_rate_follows_its_formula(text: str, expected: list[float]) -> None:
    assert rates(text, len(expected)) == pytest.approx(expected)


def test_a_sigmoid_far_away_does_not_overflow() -> None:
    assert rates('lr_policy: "sigmoid" gamma: 1 stepsize: 100000', 1) == pytest.approx([0])


def test_a_step_that_was_passed_before_a_restore_is_kept() -> None:
    param = solver('lr_policy: "multistep" gamma: 0.5 stepvalue: 1 stepvalue: 3')
    assert current_step(param, 2, 1) == 1
    assert current_step(param, 3, 1) == 2
    assert current_step(param, 4, 2) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unknown lr_policy ''; known: exp, fixed, inv"),
        ('lr_policy: "plateau"', "unknown lr_policy 'plateau'"),
        ('lr_policy: "step" gamma: 0.1', "needs stepsize, which is 0"),
        ('lr_policy: "exp" gamma: -1', "needs gamma of 0 or more, got -1.0"),
        ('lr_policy: "poly"', "needs max_iter"),
    ],
)
def test_a_policy_that_lacks_something_is_refused(text: str, message: str) -> None:
    with pytest.raises(NetError, match=message) as caught:
        check_policy(solver(text))
    assert caught.value.remedy
