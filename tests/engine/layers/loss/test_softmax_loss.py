import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos.errors import NetError
from tests.engine.support import assert_nothing_is_allocated, blob_of, layer_of, random_blob, run

LABELS = np.array([[0, 2, 1], [3, 3, 0]])
"""For scores of shape (2, 4, 3)."""


def text(loss_param: str = "", extra: str = "") -> str:
    return f'type: "SoftmaxWithLoss" loss_param {{ {loss_param} }} {extra}'


def bottoms() -> list[Blob]:
    return [random_blob(2, 4, 3), blob_of(LABELS)]


def losses(scores: np.ndarray) -> np.ndarray:
    """-log of the probability of each label, in double precision."""
    exponential = np.exp(scores.astype(np.float64))
    prob = exponential / exponential.sum(axis=1, keepdims=True)
    return -np.log(np.take_along_axis(prob, LABELS[:, None], axis=1))[:, 0]


@pytest.mark.parametrize(
    ("loss_param", "divisor"),
    [
        ("", 6),
        ("normalization: VALID", 6),
        ("normalization: FULL", 6),
        ("normalization: BATCH_SIZE", 2),
        ("normalization: NONE", 1),
        ("normalize: true", 6),
        ("normalize: false", 2),
        ("normalize: false normalization: FULL", 6),
    ],
)
def test_the_loss_is_divided_as_the_normalization_says(loss_param: str, divisor: int) -> None:
    bottom = bottoms()
    (top,) = run(layer_of(text(loss_param)), bottom)
    assert top.data == pytest.approx(losses(bottom[0].data).sum() / divisor, rel=1e-5)


@pytest.mark.parametrize(("loss_param", "divisor"), [("", 4), ("normalization: FULL", 6), ("normalize: false", 2)])
def test_an_ignored_label_counts_only_for_full_normalization(loss_param: str, divisor: int) -> None:
    bottom = bottoms()
    (top,) = run(layer_of(text(f"{loss_param} ignore_label: 3")), bottom)
    assert top.data == pytest.approx(losses(bottom[0].data)[LABELS != 3].sum() / divisor, rel=1e-5)


@pytest.mark.parametrize(
    "loss_param",
    ["", "ignore_label: 3", "normalization: NONE", "normalization: BATCH_SIZE ignore_label: 0", "normalization: FULL"],
)
def test_the_gradient_is_right(loss_param: str) -> None:
    assert GradientChecker().check(layer_of(text(loss_param)), bottoms(), [Blob()], check_bottom=[0])


@pytest.mark.parametrize("axis", [0, 2, -1])
def test_classes_may_lie_along_any_axis(axis: int) -> None:
    scores = random_blob(2, 2, 2)
    labels = blob_of([[0, 1], [1, 1]])
    layer = layer_of(text("", f"softmax_param {{ axis: {axis} }}"))
    assert GradientChecker().check(layer, [scores, labels], [Blob()], check_bottom=[0])


def test_the_second_top_holds_the_probabilities() -> None:
    bottom = bottoms()
    tops = run(layer_of(text()), bottom, num_top=2)
    exponential = np.exp(bottom[0].data)
    np.testing.assert_allclose(tops[1].data, exponential / exponential.sum(axis=1, keepdims=True), rtol=1e-5)


def test_with_two_tops_only_the_first_is_a_loss() -> None:
    layer = layer_of(text())
    run(layer, bottoms(), num_top=2)
    assert layer.loss_weights == [1, 0]


def test_a_probability_of_zero_gives_a_finite_loss() -> None:
    (top,) = run(layer_of(text()), [blob_of([[0, 1000]]), blob_of([0])])
    assert top.data == pytest.approx(-np.log(np.finfo(np.float32).tiny), rel=1e-5)


def test_a_batch_of_ignored_labels_has_no_loss_and_no_gradient() -> None:
    bottom = [random_blob(2, 4), blob_of([9, 9])]
    layer = layer_of(text("ignore_label: 9"))
    top = run(layer, bottom)
    layer.backward(top, [True, False], bottom)
    assert top[0].data == 0
    assert not bottom[0].diff.any()


def test_a_wrong_number_of_labels_is_refused() -> None:
    with pytest.raises(NetError, match=r"2 labels.*\(2, 4, 3\).*axis 1"):
        run(layer_of(text()), [random_blob(2, 4, 3), blob_of([0, 1])])


def test_what_is_ignored_may_be_anything() -> None:
    bottom = [blob_of([[1, 2], [np.nan, 0]]), blob_of([0, 255])]
    layer = layer_of(text("ignore_label: 255"))
    top = run(layer, bottom)
    layer.run_backward(top, [True, False], bottom)
    assert top[0].data == pytest.approx(np.log(1 + np.e))
    np.testing.assert_array_equal(bottom[0].diff[1], [0, 0])


WEIGHTS = [0.5, 2, 0, 3]
WEIGHTED = "weight_by_label_freqs: true " + " ".join(f"class_weighting: {weight}" for weight in WEIGHTS)


@pytest.mark.parametrize(("loss_param", "divisor"), [("", 6), ("normalize: false", 2), ("normalization: NONE", 1)])
def test_the_weight_of_a_class_scales_the_losses_of_its_places(loss_param: str, divisor: int) -> None:
    bottom = bottoms()
    (top,) = run(layer_of(text(f"{WEIGHTED} {loss_param}")), bottom)
    weighted = losses(bottom[0].data) * np.array(WEIGHTS)[LABELS]
    assert top.data == pytest.approx(weighted.sum() / divisor, rel=1e-5)


@pytest.mark.parametrize("loss_param", ["", "ignore_label: 3"])
def test_the_gradient_with_weights_of_classes_is_right(loss_param: str) -> None:
    layer = layer_of(text(f"{WEIGHTED} {loss_param}"))
    assert GradientChecker().check(layer, bottoms(), [Blob()], check_bottom=[0])


def test_weights_of_another_number_of_classes_are_refused() -> None:
    with pytest.raises(NetError, match="class_weighting is given 1 times for 4 classes"):
        run(layer_of(text("weight_by_label_freqs: true class_weighting: 1")), bottoms())


def test_weights_that_are_switched_off_do_not_count() -> None:
    (top,) = run(layer_of(text("class_weighting: 1")), bottoms())
    (plain,) = run(layer_of(text()), bottoms())
    assert top.data == plain.data


@pytest.mark.parametrize("loss_param", ["", "ignore_label: 2", WEIGHTED])
@pytest.mark.parametrize("num_top", [1, 2])
def test_a_steady_state_on_images_allocates_nothing(loss_param: str, num_top: int) -> None:
    scores = random_blob(3, 4, 140, 140)
    labels = blob_of(np.random.default_rng(1).integers(0, 4, (3, 140, 140)))
    assert_nothing_is_allocated(layer_of(text(loss_param)), [scores, labels], num_top, propagate_down=[True, False])
