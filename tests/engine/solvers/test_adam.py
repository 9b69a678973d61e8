import numpy as np
import pytest

from farlayer.protos.errors import NetError
from tests.engine.solvers.nets import DECAY_MULTS, LR_MULTS, Doubles, check_updates, make_solver, take_gradients


def adam(beta1: float, beta2: float, delta: float, g: Doubles, kept: list[Doubles], rate: float, time: int) -> Doubles:
    mean, square = kept
    mean[...] = beta1 * mean + (1 - beta1) * g
    square[...] = beta2 * square + (1 - beta2) * g * g
    correction = np.sqrt(1 - beta2**time) / (1 - beta1**time)
    return np.asarray(rate * correction * mean / (np.sqrt(square) + delta))


@pytest.mark.parametrize(
    ("options", "constants"),
    [
        ("", (0.0, 0.999, 1e-8)),
        ("momentum: 0.9", (0.9, 0.999, 1e-8)),
        ("momentum: 0.5 momentum2: 0.9 delta: 0.1", (0.5, 0.9, 0.1)),
    ],
)
@pytest.mark.parametrize("kind", ["Adam", "AdamW"])
def test_the_update_is_the_mean_gradient_over_its_size(
    kind: str, options: str, constants: tuple[float, float, float]
) -> None:
    check_updates(f'type: "{kind}" {options}', lambda *args: adam(*constants, *args), 2)


@pytest.mark.parametrize("field", ["momentum", "momentum2"])
def test_constants_that_divide_by_zero_are_refused(field: str) -> None:
    with pytest.raises(NetError, match=f"{field} is 1, expected 0 or more and less than 1 for type 'Adam'") as caught:
        make_solver(f'type: "Adam" {field}: 1')
    assert caught.value.remedy


@pytest.mark.parametrize("regularization", ["L1", "L2"])
def test_adamw_decays_beside_the_gradient(regularization: str) -> None:
    options = f'momentum: 0.9 weight_decay: 0.25 regularization_type: "{regularization}"'
    solver = make_solver(f'type: "AdamW" {options}')
    gradients = take_gradients(solver)
    before = [blob.data.astype(np.float64) for blob in solver.net.learnable_params]
    solver.apply_update(0.1)
    for index, blob in enumerate(solver.net.learnable_params):
        rate = 0.1 * LR_MULTS[index]
        kept = [np.zeros(blob.shape), np.zeros(blob.shape)]
        decay = np.sign(before[index]) if regularization == "L1" else before[index]
        update = adam(0.9, 0.999, 1e-8, gradients[index], kept, rate, 1) + rate * 0.25 * DECAY_MULTS[index] * decay
        np.testing.assert_allclose(blob.data, before[index] - update, rtol=1e-4, atol=1e-6)
    assert not np.allclose(solver.net.learnable_params[1].data, after_adam(options), atol=1e-3)


def after_adam(options: str) -> np.ndarray:
    """The weights of `ip` after the same update of Adam, whose decay is in the gradient."""
    solver = make_solver(f'type: "Adam" {options}')
    take_gradients(solver)
    solver.apply_update(0.1)
    return solver.net.learnable_params[1].data
