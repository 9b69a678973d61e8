import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.protos.errors import NetError
from tests.engine.support import assert_nothing_is_allocated, blob_of, layer_of, random_blob, run

SCORES = [[0.1, 0.5, 0.3], [0.9, 0.2, 0.1], [0.2, 0.3, 0.1], [0.5, 0.1, 0.6]]
LABELS = [1, 1, 0, 2]


def text(options: str = "") -> str:
    return f'type: "Accuracy" accuracy_param {{ {options} }}'


def accuracy(options: str, labels: list[int] = LABELS) -> float:
    (top,) = run(layer_of(text(options)), [blob_of(SCORES), blob_of(labels)])
    assert top.shape == ()
    return float(top.data)


def test_the_best_score_has_to_be_the_label() -> None:
    assert accuracy("") == pytest.approx(2 / 4)


def test_top_k_accepts_the_best_k() -> None:
    assert accuracy("top_k: 2") == pytest.approx(4 / 4)


def test_an_ignored_label_does_not_count() -> None:
    assert accuracy("ignore_label: 2") == pytest.approx(1 / 3)


def test_nothing_that_counts_is_no_accuracy() -> None:
    assert accuracy("ignore_label: 5", [5, 5, 5, 5]) == 0


def test_a_tie_counts_against_the_label() -> None:
    (top,) = run(layer_of(text()), [blob_of([[1, 1]]), blob_of([0])])
    assert top.data == 0


def test_the_second_top_has_the_accuracy_of_each_class() -> None:
    tops = run(layer_of(text()), [blob_of(SCORES), blob_of([1, 1, 1, 2])], num_top=2)
    np.testing.assert_allclose(tops[1].data, [0, 2 / 3, 1])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_classes_may_lie_along_any_axis(axis: int) -> None:
    scores = random_blob(4, 4, 4)
    labels = np.random.default_rng(1).integers(0, 4, (4, 4))
    (top,) = run(layer_of(text(f"axis: {axis}")), [scores, blob_of(labels)])
    assert top.data == pytest.approx((scores.data.argmax(axis=axis) == labels).mean())


@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_it_counts_as_one_label_at_a_time_would(top_k: int) -> None:
    scores, labels = random_blob(6, 5, 3), np.random.default_rng(2).integers(0, 5, (6, 3))
    tops = run(layer_of(text(f"top_k: {top_k} ignore_label: 2")), [scores, blob_of(labels)], num_top=2)
    seen, right = np.zeros(5), np.zeros(5)
    for item, place in np.ndindex(6, 3):
        label = labels[item, place]
        if label != 2:
            seen[label] += 1
            right[label] += label in np.argsort(scores.data[item, :, place])[::-1][:top_k]
    assert tops[0].data == pytest.approx(right.sum() / seen.sum())
    np.testing.assert_allclose(tops[1].data, right / np.maximum(seen, 1), rtol=1e-6)


@pytest.mark.parametrize("shape", [(24_000, 20), (6, 4, 140, 140)])
@pytest.mark.parametrize("num_top", [1, 2])
@pytest.mark.parametrize("options", ["", "ignore_label: 1"])
def test_a_steady_state_allocates_nothing(options: str, num_top: int, shape: tuple[int, ...]) -> None:
    labels = np.random.default_rng(1).integers(0, shape[1], (shape[0], *shape[2:]))
    bottom = [random_blob(*shape), blob_of(labels)]
    # NumPy's own buffers take up to 128 KiB, so the bottoms are large.
    assert_nothing_is_allocated(layer_of(text(options)), bottom, num_top, backward=False)


def test_an_empty_batch_passes() -> None:
    (top,) = run(layer_of(text()), [Blob((0, 3)), Blob((0,))])
    assert top.data == 0


@pytest.mark.parametrize(
    ("options", "labels", "message"),
    [
        ("top_k: 4", [0, 0, 0, 0], "top_k is 4 for 3 classes"),
        ("top_k: 0", [0, 0, 0, 0], "top_k is 0 for 3 classes"),
        ("", [0, 0], r"2 labels.*expected 4"),
        ("", [0, 0, 0, 3], "label 3 is out of range"),
        ("axis: 2", [0, 0, 0, 0], "accuracy_param.axis is 2"),
    ],
)
def test_what_does_not_fit_is_refused(options: str, labels: list[int], message: str) -> None:
    with pytest.raises(NetError, match=message):
        accuracy(options, labels)


def test_it_has_no_gradient() -> None:
    layer = layer_of(text())
    bottom = [blob_of(SCORES), blob_of(LABELS)]
    top = run(layer, bottom)
    layer.backward(top, [False, False], bottom)
    assert not layer.allow_force_backward(0)
    with pytest.raises(NetError, match="no gradient"):
        layer.backward(top, [True, False], bottom)
