from pathlib import Path

import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.blob_proto import blob_to_proto
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos.errors import NetError
from tests.engine.support import blob_of, layer_of, random_blob, run

#: For scores of shape (2, 4, 3).
LABELS = np.array([[0, 2, 1], [3, 3, 0]])
MATRIX = np.abs(random_blob(4, 4, seed=9).data)


def text(fields: str = "") -> str:
    return f'type: "InfogainLoss" {fields}'


def bottoms(matrix: np.ndarray | None = MATRIX) -> list[Blob]:
    bottom = [random_blob(2, 4, 3), blob_of(LABELS)]
    return bottom if matrix is None else [*bottom, blob_of(matrix)]


def losses(scores: np.ndarray) -> np.ndarray:
    """The loss at each place, in double precision."""
    exponential = np.exp(scores.astype(np.float64))
    log_prob = np.log(exponential / exponential.sum(axis=1, keepdims=True))
    found = np.zeros(LABELS.shape)
    for item, place in np.ndindex(*LABELS.shape):
        found[item, place] = -MATRIX[LABELS[item, place]] @ log_prob[item, :, place]
    return found


@pytest.mark.parametrize(
    ("fields", "divisor"),
    [
        ("", 6),
        ("loss_param { normalization: VALID }", 6),
        ("loss_param { normalization: FULL }", 6),
        ("loss_param { normalization: BATCH_SIZE }", 2),
        ("loss_param { normalization: NONE }", 1),
    ],
)
def test_each_class_costs_what_the_row_of_the_label_says(fields: str, divisor: int) -> None:
    bottom = bottoms()
    (top,) = run(layer_of(text(fields)), bottom)
    assert top.data == pytest.approx(losses(bottom[0].data).sum() / divisor, rel=1e-5)


@pytest.mark.parametrize(("mode", "divisor"), [("VALID", 4), ("FULL", 6), ("BATCH_SIZE", 2), ("NONE", 1)])
def test_an_ignored_label_counts_only_for_full_normalization(mode: str, divisor: int) -> None:
    bottom, layer = bottoms(), layer_of(text(f"loss_param {{ ignore_label: 3 normalization: {mode} }}"))
    top = run(layer, bottom)
    layer.backward(top, [True, False, False], bottom)
    assert top[0].data == pytest.approx(losses(bottom[0].data)[LABELS != 3].sum() / divisor, rel=1e-5)
    np.testing.assert_array_equal(bottom[0].diff.any(axis=1), LABELS != 3)


def test_with_a_unit_matrix_it_is_the_softmax_loss() -> None:
    (top,) = run(layer_of(text()), bottoms(np.eye(4)))
    (expected,) = run(layer_of('type: "SoftmaxWithLoss"'), bottoms(None))
    assert top.data == pytest.approx(float(expected.data))


@pytest.mark.parametrize("fields", ["", "loss_param { ignore_label: 3 }", "loss_param { normalization: NONE }"])
def test_the_gradient_is_right(fields: str) -> None:
    checker = GradientChecker(threshold=2e-3)
    assert checker.check(layer_of(text(fields)), bottoms(), [Blob()], check_bottom=[0])


@pytest.mark.parametrize("axis", [0, 2, -1])
def test_classes_may_lie_along_any_axis(axis: int) -> None:
    bottom = [random_blob(4, 4, 4), blob_of(np.random.default_rng(2).integers(0, 4, (4, 4))), blob_of(MATRIX)]
    layer = layer_of(text(f"infogain_loss_param {{ axis: {axis} }}"))
    (top,) = run(layer, bottom)
    moved = [blob_of(np.moveaxis(bottom[0].data, axis, 1)), *bottom[1:]]
    (expected,) = run(layer_of(text()), moved)
    assert top.data == pytest.approx(float(expected.data), rel=1e-5)
    assert GradientChecker().check(layer, bottom, [top], check_bottom=[0])


@pytest.mark.parametrize("shape", [(4, 4), (1, 1, 4, 4)])
def test_the_matrix_may_lie_in_a_file(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "matrix.binaryproto"
    path.write_bytes(blob_to_proto(blob_of(MATRIX.reshape(shape))).SerializeToString())
    (top,) = run(layer_of(text(f'infogain_loss_param {{ source: "{path}" }}')), bottoms(None))
    (expected,) = run(layer_of(text()), bottoms())
    assert top.data == expected.data


def test_the_second_top_holds_the_probabilities() -> None:
    bottom, layer = bottoms(), layer_of(text())
    tops = run(layer, bottom, num_top=2)
    exponential = np.exp(bottom[0].data)
    np.testing.assert_allclose(tops[1].data, exponential / exponential.sum(axis=1, keepdims=True), rtol=1e-5)
    layer.backward(tops, [True, False, False], bottom)
    other = bottoms()
    single = layer_of(text())
    single.backward(run(single, other), [True, False, False], other)
    np.testing.assert_array_equal(bottom[0].diff, other[0].diff)


def test_a_probability_of_zero_counts_as_a_small_one() -> None:
    (top,) = run(layer_of(text()), [blob_of([[0, 1000]]), blob_of([0]), blob_of(np.eye(2))])
    assert top.data == pytest.approx(-np.log(1e-20))


def test_neither_labels_nor_the_matrix_have_a_gradient() -> None:
    bottom, layer = bottoms(), layer_of(text())
    top = run(layer, bottom)
    assert [layer.allow_force_backward(index) for index in range(3)] == [True, False, False]
    with pytest.raises(NetError, match="the infogain matrix cannot have a gradient"):
        layer.backward(top, [True, False, True], bottom)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("", "no infogain matrix is given"),
        ('infogain_loss_param { source: "/nowhere/matrix" }', "infogain_loss_param.source: cannot read"),
        ("loss_param { normalize: true }", "loss_param.normalize is not read by this type"),
    ],
)
def test_a_layer_without_a_usable_matrix_or_mode_is_refused(fields: str, message: str) -> None:
    with pytest.raises(NetError, match=rf"layer 'l' \(InfogainLoss\): {message}"):
        run(layer_of(text(fields)), bottoms(None))


@pytest.mark.parametrize("content", [b"\xff\xff no message", b"\x2a\x08\x00\x00\x80?\x00\x00"])
def test_a_file_that_holds_no_matrix_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "matrix.binaryproto"
    path.write_bytes(content)
    with pytest.raises(NetError, match=r"layer 'l' \(InfogainLoss\)"):
        run(layer_of(text(f'infogain_loss_param {{ source: "{path}" }}')), bottoms(None))


@pytest.mark.parametrize(
    ("bottom", "message"),
    [
        ([(2, 4, 3), (2, 3), (3, 4)], r"the infogain matrix has shape \(3, 4\) for 4 classes.*expected 4 x 4"),
        ([(2, 4, 3), (2, 4), (4, 4)], r"8 labels \(shape \(2, 4\)\).*expected 6"),
        ([(2,), (2,), (4, 4)], "infogain_loss_param.axis is 1"),
    ],
)
def test_bottoms_that_do_not_fit_are_refused(bottom: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(NetError, match=message):
        run(layer_of(text()), [Blob(shape) for shape in bottom])
