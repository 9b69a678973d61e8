import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from tests.engine.support import blob_of, layer_of, random_blob, run

TEXT = 'type: "MultinomialLogisticLoss"'
LABELS = [1, 0, 3]


def probabilities(*shape: int) -> Blob:
    raw = np.abs(random_blob(*shape).data) + 0.5
    return blob_of(raw / raw.reshape(shape[0], -1).sum(axis=1).reshape(-1, *[1] * (len(shape) - 1)))


@pytest.mark.parametrize("shape", [(3, 4), (3, 2, 2)])
def test_the_loss_is_the_mean_of_the_negative_log_likelihoods(shape: tuple[int, ...]) -> None:
    prob = probabilities(*shape)
    (top,) = run(layer_of(TEXT), [prob, blob_of(LABELS)])
    assert top.data == pytest.approx(-np.log(prob.data.reshape(3, 4)[range(3), LABELS]).mean())


@pytest.mark.parametrize("shape", [(3, 4), (3, 2, 2)])
def test_the_gradient_is_right(shape: tuple[int, ...]) -> None:
    checker = GradientChecker(step=1e-3, threshold=2e-3)
    assert checker.check(layer_of(TEXT), [probabilities(*shape), blob_of(LABELS)], [Blob()], check_bottom=[0])


def test_a_probability_of_zero_counts_as_a_small_one() -> None:
    bottom, layer = [blob_of([[0, 1]]), blob_of([0])], layer_of(TEXT)
    top = run(layer, bottom)
    layer.backward(top, [True, False], bottom)
    assert top[0].data == pytest.approx(-np.log(1e-20))
    np.testing.assert_allclose(bottom[0].diff, [[-1e20, 0]], rtol=1e-5)
