from pathlib import Path

import numpy as np
import pytest

from farlayer.client.in_process_host import InProcessHost
from farlayer.engine.solvers import build_solver
from tests.engine.solvers.nets import make_solver, solver_param, weights


def gradients_then_update(
    options: str, rate: float = 0.1
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Data and diff of each param before one update with these options, and the data after it."""
    solver = make_solver(options)
    solver.net.forward()
    solver.net.clear_param_diffs()
    solver.net.backward()
    params = solver.net.learnable_params
    data, diff = [blob.data.copy() for blob in params], [blob.diff.copy() for blob in params]
    solver.compute_update(rate)
    return data, diff, [before - blob.diff for before, blob in zip(data, params, strict=True)]


def test_training_makes_the_loss_small() -> None:
    solver = make_solver("momentum: 0.9")
    solver.step(200)
    assert solver.net.forward() < 1e-3
    np.testing.assert_allclose(
        solver.net.layer("ip").params[0].data, solver.net.layer("target").params[0].data, atol=0.05
    )


def test_the_update_is_rate_times_lr_mult_times_gradient() -> None:
    data, diff, after = gradients_then_update("")
    for index, lr_mult in enumerate((0, 1, 2)):
        np.testing.assert_allclose(after[index], data[index] - 0.1 * lr_mult * diff[index], rtol=1e-5, atol=1e-6)


def test_l2_decay_pulls_params_with_a_decay_mult_towards_zero() -> None:
    data, diff, after = gradients_then_update("weight_decay: 0.5")
    np.testing.assert_allclose(after[1], data[1] - 0.1 * (diff[1] + 0.5 * data[1]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after[2], data[2] - 0.2 * diff[2], rtol=1e-5, atol=1e-6)


def test_l1_decay_pulls_by_the_sign() -> None:
    data, diff, after = gradients_then_update('weight_decay: 0.5 regularization_type: "L1"')
    expected = data[1] - 0.1 * (diff[1] + 0.5 * np.sign(data[1]))
    np.testing.assert_allclose(after[1], expected, rtol=1e-5, atol=1e-6)


def test_momentum_keeps_a_part_of_the_update_before() -> None:
    solver = make_solver("momentum: 0.5")
    velocity = [np.zeros(blob.shape) for blob in solver.net.learnable_params]
    for _ in range(3):
        before = [blob.data.copy() for blob in solver.net.learnable_params]
        solver.net.forward()
        solver.net.clear_param_diffs()
        solver.net.backward()
        for index, (blob, lr_mult) in enumerate(zip(solver.net.learnable_params, (0, 1, 2), strict=True)):
            velocity[index] = 0.5 * velocity[index] + 0.1 * lr_mult * blob.diff
        solver.compute_update(0.1)
        for index, blob in enumerate(solver.net.learnable_params):
            np.testing.assert_allclose(blob.diff, velocity[index], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(solver.history[index].data, velocity[index], rtol=1e-5, atol=1e-6)
            blob.data[...] = before[index] - blob.diff


@pytest.mark.parametrize("limit", [0.5, 1000.0])
def test_gradients_longer_than_the_limit_are_clipped_to_it(limit: float) -> None:
    _, diff, _ = gradients_then_update("")
    data, _, after = gradients_then_update(f"clip_gradients: {limit}")
    norm = np.sqrt(sum((part**2).sum() for part in diff))
    scale = min(1, limit / norm)
    assert scale == 1 or limit == 0.5
    np.testing.assert_allclose(after[1], data[1] - 0.1 * scale * diff[1], rtol=1e-4, atol=1e-6)


def test_iter_size_averages_the_gradients_of_several_batches() -> None:
    single, double = make_solver(""), make_solver("iter_size: 2")
    # Both draw the same batches: the mean of two gradients at the same weights.
    gradients = []
    for _ in range(2):
        single.net.clear_param_diffs()
        single.net.forward()
        single.net.backward()
        gradients.append([blob.diff.copy() for blob in single.net.learnable_params])
    before = [np.array(part) for part in weights(double)]
    double.step(1)
    for index, (blob, lr_mult) in enumerate(zip(double.net.learnable_params, (0, 1, 2), strict=True)):
        mean = (gradients[0][index] + gradients[1][index]) / 2
        expected = before[index] - 0.1 * lr_mult * mean.ravel()
        np.testing.assert_allclose(blob.data.ravel(), expected, rtol=1e-4, atol=1e-5)


def test_the_same_seed_trains_to_the_same_bits() -> None:
    results = []
    for _ in range(2):
        solver = make_solver("momentum: 0.9 weight_decay: 0.01")
        solver.step(5)
        results.append(weights(solver))
    assert results[0] == results[1]
    reseeded = solver_param()
    reseeded.random_seed = 6
    with build_solver(reseeded, host=InProcessHost(), base_dir=Path()) as other:
        assert weights(other) != weights(make_solver())
