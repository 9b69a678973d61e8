from pathlib import Path

import numpy as np
import pytest

from farlayer.client.in_process_host import InProcessHost
from farlayer.engine.solvers import SOLVER_TYPES, build_solver, gradient_solver
from tests.engine.solvers.nets import DECAY_MULTS, LR_MULTS, Doubles, make_solver, solver_param, take_gradients, weights
from tests.engine.support import peak_bytes

ALL = sorted(SOLVER_TYPES)


def after_update(options: str, rate: float = 0.1) -> tuple[list[Doubles], list[Doubles], list[Doubles]]:
    """Gradients, data before and data after one update of SGD."""
    solver = make_solver(options)
    gradients = take_gradients(solver)
    params = solver.net.learnable_params
    before = [blob.data.astype(np.float64) for blob in params]
    solver.apply_update(rate)
    return gradients, before, [blob.data.astype(np.float64) for blob in params]


@pytest.mark.parametrize("regularization", ["L1", "L2"])
def test_decay_pulls_params_with_a_decay_mult_towards_zero(regularization: str) -> None:
    gradients, before, after = after_update(f'weight_decay: 0.5 regularization_type: "{regularization}"')
    for index, (lr_mult, decay_mult) in enumerate(zip(LR_MULTS, DECAY_MULTS, strict=True)):
        pull = np.sign(before[index]) if regularization == "L1" else before[index]
        expected = before[index] - 0.1 * lr_mult * (gradients[index] + 0.5 * decay_mult * pull)
        np.testing.assert_allclose(after[index], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("limit", "clips"), [(0.5, True), (0, True), (1000.0, False), (-1, False)])
def test_gradients_longer_than_the_limit_are_clipped_to_it(limit: float, clips: bool) -> None:
    gradients, before, after = after_update(f"clip_gradients: {limit}")
    norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients))
    scale = limit / norm if clips else 1
    for index, lr_mult in enumerate(LR_MULTS):
        expected = before[index] - 0.1 * lr_mult * scale * gradients[index]
        np.testing.assert_allclose(after[index], expected, rtol=1e-4, atol=1e-6)


def test_gradients_of_several_passes_are_clipped_before_they_are_averaged_and_then_decayed() -> None:
    gradients, before, after = after_update("iter_size: 3 clip_gradients: 0.5 weight_decay: 0.1")
    norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients))
    assert norm > 0.5 * 3
    mean = gradients[1] * 0.5 / norm / 3
    np.testing.assert_allclose(after[1], before[1] - 0.1 * (mean + 0.1 * before[1]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ALL)
def test_a_param_that_is_updated_in_parts_is_updated_as_a_whole(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained() -> list[list[float]]:
        solver = make_solver(f'type: "{kind}" weight_decay: 0.1 clip_gradients: 1')
        solver.step(3)
        return [*weights(solver), *(blob.data.ravel().tolist() for blob in solver.history)]

    whole = trained()
    monkeypatch.setattr(gradient_solver, "PART_VALUES", 4)  # the weights have 6 values, the bias 2
    assert trained() == whole


BIG = """
layer { name: "x" type: "DummyData" top: "x" top: "t" dummy_data_param {
        shape { dim: 1 dim: 500 } shape { dim: 1 dim: 1000 } data_filler { type: "gaussian" } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y"
        inner_product_param { num_output: 1000 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""


@pytest.mark.parametrize("regularization", ["L1", "L2"])
@pytest.mark.parametrize("kind", ALL)
def test_nothing_is_allocated_in_a_steady_state(kind: str, regularization: str) -> None:
    options = f'type: "{kind}" weight_decay: 0.1 clip_gradients: 0.001 regularization_type: "{regularization}"'
    solver = make_solver(options, net=BIG)
    for _ in range(2):
        take_gradients(solver)
        solver.apply_update(0.1)
    take_gradients(solver)
    assert peak_bytes(lambda: solver.apply_update(0.1)) < 64 << 10, "of 2 MB of params"
    assert solver.scratch.size_bytes <= 3 * 4 * gradient_solver.PART_VALUES


@pytest.mark.parametrize("kind", ALL)
def test_rates_beyond_single_precision_do_not_stop_training(kind: str) -> None:
    solver = make_solver(f'type: "{kind}" weight_decay: 0.1')
    take_gradients(solver)
    with np.errstate(all="ignore"):
        solver.apply_update(1e300)
    assert not np.isfinite(weights(solver)[1]).all()


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
