import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos.errors import NetError
from tests.engine.support import blob_of, layer_of, random_blob, run

#: For scores of shape (2, 3, 2).
TARGETS = np.array([[[0, 1], [1, 0.25], [-1, 0]], [[-1, -1], [0.75, 1], [0, 0]]])
MODES = {"FULL": 12, "BATCH_SIZE": 2, "NONE": 1, "VALID": 12}


def text(loss_param: str = "") -> str:
    return f'type: "SigmoidCrossEntropyLoss" loss_param {{ {loss_param} }}'


def bottoms() -> list[Blob]:
    return [random_blob(2, 3, 2), blob_of(np.abs(TARGETS))]


def losses(bottom: list[Blob]) -> np.ndarray:
    target = bottom[1].data.astype(np.float64)
    prob = 1 / (1 + np.exp(-bottom[0].data.astype(np.float64)))
    return -target * np.log(prob) - (1 - target) * np.log(1 - prob)


@pytest.mark.parametrize(
    ("loss_param", "divisor"),
    [
        ("", 2),
        ("normalize: true", 12),
        ("normalize: false", 2),
        *((f"normalization: {mode}", divisor) for mode, divisor in MODES.items()),
    ],
)
def test_the_loss_is_divided_as_the_normalization_says(loss_param: str, divisor: int) -> None:
    bottom = bottoms()
    (top,) = run(layer_of(text(loss_param)), bottom)
    assert top.data == pytest.approx(losses(bottom).sum() / divisor, rel=1e-5)


@pytest.mark.parametrize(("mode", "divisor"), [*(MODES | {"VALID": 9}).items()])
def test_ignored_targets_do_not_count(mode: str, divisor: int) -> None:
    bottom, layer = [random_blob(2, 3, 2), blob_of(TARGETS)], layer_of(text(f"ignore_label: -1 normalization: {mode}"))
    top = run(layer, bottom)
    layer.backward(top, [True, False], bottom)
    assert top[0].data == pytest.approx(losses(bottom)[TARGETS != -1].sum() / divisor, rel=1e-5)
    np.testing.assert_array_equal(bottom[0].diff == 0, TARGETS == -1)


def test_a_target_is_ignored_by_its_whole_part() -> None:
    (top,) = run(layer_of(text("ignore_label: 0")), [random_blob(2, 2), blob_of([[0, 0.5], [0.99, -0.5]])])
    assert top.data == 0


def test_what_is_ignored_may_be_anything() -> None:
    bottom, layer = [blob_of([[np.nan, 0]]), blob_of([[255, 1]])], layer_of(text("ignore_label: 255"))
    top = run(layer, bottom)
    layer.backward(top, [True, False], bottom)
    assert top[0].data == pytest.approx(np.log(2))
    np.testing.assert_array_equal(bottom[0].diff, [[0, -0.5]])


@pytest.mark.parametrize("loss_param", ["", "normalization: VALID ignore_label: -1", "normalization: NONE"])
def test_the_gradient_is_right(loss_param: str) -> None:
    bottom = [random_blob(2, 3, 2), blob_of(TARGETS if "ignore" in loss_param else np.abs(TARGETS))]
    assert GradientChecker().check(layer_of(text(loss_param)), bottom, [Blob()], check_bottom=[0])


def test_large_scores_do_not_overflow() -> None:
    (top,) = run(layer_of(text()), [blob_of([[1000, -1000]]), blob_of([[0, 1]])])
    assert top.data == 2000


def test_other_shapes_of_the_same_count_will_do() -> None:
    bottom = [random_blob(2, 6), blob_of(np.abs(TARGETS))]
    (top,) = run(layer_of(text()), bottom)
    assert top.data == pytest.approx(losses([bottom[0], blob_of(np.abs(TARGETS).reshape(2, 6))]).sum() / 2, rel=1e-5)


def test_another_number_of_targets_is_refused() -> None:
    with pytest.raises(NetError, match=r"bottom shapes \(2, 3\) and \(2, 4\) hold different numbers of values"):
        run(layer_of(text()), [random_blob(2, 3), random_blob(2, 4)])
