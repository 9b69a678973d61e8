import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from tests.engine.support import blob_of, layer_of, random_blob, run

LABELS = [1, 0, 3]
SHAPES = [(3, 4), (3, 2, 2)]


def text(norm: str) -> str:
    return f'type: "HingeLoss" hinge_loss_param {{ norm: {norm} }}'


def margins(scores: np.ndarray) -> np.ndarray:
    signs = np.ones((3, 4))
    signs[range(3), LABELS] = -1
    return np.maximum(0, 1 + signs * scores.reshape(3, 4))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("norm", "power"), [("L1", 1), ("L2", 2)])
def test_the_loss_is_the_sum_of_the_margins_by_the_norm(norm: str, power: int, shape: tuple[int, ...]) -> None:
    bottom = [random_blob(*shape), blob_of(LABELS)]
    (top,) = run(layer_of(text(norm)), bottom)
    assert top.data == pytest.approx((margins(bottom[0].data) ** power).sum() / 3)


def test_the_norm_is_l1_unless_given() -> None:
    bottom = [random_blob(3, 4), blob_of(LABELS)]
    (top,) = run(layer_of('type: "HingeLoss"'), bottom)
    assert top.data == pytest.approx(margins(bottom[0].data).sum() / 3)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("norm", ["L1", "L2"])
def test_the_gradient_is_right(norm: str, shape: tuple[int, ...]) -> None:
    scores = random_blob(*shape)
    scores.data[np.abs(np.abs(scores.data) - 1) < 0.02] = 0.5  # away from the kinks
    assert GradientChecker().check(layer_of(text(norm)), [scores, blob_of(LABELS)], [Blob()], check_bottom=[0])


def test_forward_leaves_the_margins_in_the_diff_of_the_scores() -> None:
    bottom = [random_blob(3, 4), blob_of(LABELS)]
    run(layer_of(text("L1")), bottom)
    np.testing.assert_allclose(bottom[0].diff, margins(bottom[0].data), rtol=1e-6)
