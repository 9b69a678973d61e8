import numpy as np
import pytest

from farlayer.engine.layers.detection.box_losses import (
    Targets,
    l2_gradient,
    l2_losses,
    logistic_losses,
    smooth_l1_gradient,
    smooth_l1_losses,
    softmax_losses,
)
from farlayer.engine.scratch import Scratch
from tests.engine.layers.detection.reference import MultiBox

ERRORS = np.array([[0.5, -0.5, 0, 0], [2, -3, 1, 0.1]], np.float32)
SCORES = np.random.default_rng(1).normal(0, 2, (4, 3)).astype(np.float32)


def test_location_losses_are_those_of_the_definition() -> None:
    np.testing.assert_allclose(l2_losses(ERRORS), [0.25, 7.005], rtol=1e-6)
    np.testing.assert_allclose(smooth_l1_losses(ERRORS), [0.25, 1.5 + 2.5 + 0.5 + 0.005], rtol=1e-6)


def test_location_gradients_are_the_error_or_the_error_held_in_1() -> None:
    np.testing.assert_array_equal(l2_gradient(ERRORS), ERRORS)
    np.testing.assert_array_equal(smooth_l1_gradient(ERRORS), np.clip(ERRORS, -1, 1))


def test_softmax_losses_are_those_of_the_definition() -> None:
    labels = np.array([2, 0, 1, 1])
    prob = np.empty_like(SCORES)
    losses = softmax_losses(SCORES, Targets(np.arange(4), labels), prob, Scratch())
    expected = [MultiBox().confidence_loss(scores, {label}) for scores, label in zip(SCORES, labels, strict=True)]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    exponential = np.exp(SCORES)
    np.testing.assert_allclose(prob, exponential / exponential.sum(axis=1, keepdims=True), rtol=1e-5)


def test_a_probability_of_0_gives_a_finite_loss() -> None:
    scores = np.array([[0, 1000]], np.float32)
    losses = softmax_losses(scores, Targets(np.array([0]), np.array([0])), np.empty_like(scores), Scratch())
    assert losses[0] == pytest.approx(87.3365, rel=1e-4)


def test_logistic_losses_are_those_of_the_definition() -> None:
    # Row 0 has two targets, row 1 none.
    targets = Targets(np.array([0, 0, 2, 3]), np.array([0, 2, 1, 1]))
    prob = np.empty_like(SCORES)
    losses = logistic_losses(SCORES, targets, prob, Scratch())
    param = MultiBox(conf_loss_type="LOGISTIC")
    hits = [{0, 2}, set(), {1}, {1}]
    expected = [param.confidence_loss(scores, classes) for scores, classes in zip(SCORES, hits, strict=True)]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    np.testing.assert_allclose(prob, 1 / (1 + np.exp(-SCORES)), rtol=1e-5)


def test_large_scores_do_not_overflow() -> None:
    scores = np.array([[1000, -1000]], np.float32)
    losses = logistic_losses(scores, Targets(np.array([0]), np.array([1])), np.empty_like(scores), Scratch())
    assert losses[0] == 2000
