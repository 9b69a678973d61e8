import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlayer.engine.layers.detection.matching import IGNORED, UNMATCHED, match, read_ground_truth
from farlayer.engine.scratch import Scratch
from farlayer.protos.errors import NetError
from tests.engine.layers.detection import reference
from tests.engine.layers.detection.test_boxes import random_boxes
from tests.engine.support import blob_of, layer_of

TRUTHS = np.array([[0, 0, 0.4, 0.4], [0.1, 0, 0.5, 0.4]], np.float32)
BOXES = np.array(
    [[0, 0, 0.4, 0.4], [0.02, 0, 0.42, 0.4], [0.2, 0, 0.6, 0.4], [0.1, 0, 0.6, 0.4], [0.8, 0.8, 1, 1]], np.float32
)
"""Overlaps with the two truths: 1 and 0.6; 0.905 and 0.667; 1/3 and 0.6; 0.429 and 0.8; none."""


def matched(**options: object) -> tuple[np.ndarray, np.ndarray]:
    given = {"per_prediction": True, "threshold": 0.5, "ignore_outside": False} | options
    return match(BOXES, TRUTHS, Scratch(), **given)  # type: ignore[arg-type]  # chosen by each test


def test_bipartite_matching_gives_each_truth_the_box_that_overlaps_it_most() -> None:
    indices, overlaps = matched(per_prediction=False)
    np.testing.assert_array_equal(indices, [0, UNMATCHED, UNMATCHED, 1, UNMATCHED])
    np.testing.assert_allclose(overlaps, [1, 0.38 / 0.42, 0.6, 0.8, 0], rtol=1e-5)


def test_per_prediction_the_others_take_what_they_overlap_by_the_threshold() -> None:
    np.testing.assert_array_equal(matched()[0], [0, 0, 1, 1, UNMATCHED])
    np.testing.assert_array_equal(matched(threshold=0.7)[0], [0, 0, UNMATCHED, 1, UNMATCHED])


def test_a_threshold_of_0_takes_no_box_that_overlaps_nothing() -> None:
    assert matched(threshold=0)[0][4] == UNMATCHED


def test_boxes_that_cross_the_border_may_be_ignored() -> None:
    boxes = BOXES.copy()
    boxes[0, 0] = -0.01
    indices, overlaps = match(boxes, TRUTHS, Scratch(), per_prediction=True, threshold=0.5, ignore_outside=True)
    np.testing.assert_array_equal(indices, [IGNORED, 0, 1, 1, UNMATCHED])
    assert overlaps[0] == 0


def test_a_matched_box_has_the_overlap_with_its_own_truth() -> None:
    # The box overlaps the first truth more, but another box gets that.
    truths = np.array([[0, 0, 1, 1], [0, 0, 0.4, 1]], np.float32)
    boxes = np.array([[0, 0, 1, 1], [0, 0, 0.8, 1]], np.float32)
    indices, overlaps = match(boxes, truths, Scratch(), per_prediction=False, threshold=0.5, ignore_outside=False)
    np.testing.assert_array_equal(indices, [0, 1])
    np.testing.assert_allclose(overlaps, [1, 0.5])


@pytest.mark.parametrize(("num_boxes", "num_truths"), [(0, 2), (3, 0), (0, 0)])
def test_without_boxes_or_truths_nothing_is_matched(num_boxes: int, num_truths: int) -> None:
    indices, overlaps = match(
        random_boxes(num_boxes),
        random_boxes(num_truths),
        Scratch(),
        per_prediction=True,
        threshold=0.5,
        ignore_outside=False,
    )
    assert indices.tolist() == [UNMATCHED] * num_boxes
    assert overlaps.tolist() == [0] * num_boxes


@settings(max_examples=25, deadline=None)
@given(
    num_boxes=st.integers(1, 30),
    num_truths=st.integers(1, 8),
    seed=st.integers(0, 1000),
    per_prediction=st.booleans(),
    ignore_outside=st.booleans(),
    threshold=st.sampled_from([0.2, 0.5]),
)
def test_matches_are_those_of_the_definition(
    num_boxes: int, num_truths: int, seed: int, per_prediction: bool, ignore_outside: bool, threshold: float
) -> None:
    boxes, truths = random_boxes(num_boxes, seed=seed), random_boxes(num_truths, seed=seed + 1)
    indices, overlaps = match(
        boxes,
        truths,
        Scratch(),
        per_prediction=per_prediction,
        threshold=threshold,
        ignore_outside=ignore_outside,
    )
    expected = reference.match(boxes.tolist(), truths.tolist(), per_prediction, threshold, ignore_outside)
    assert indices.tolist() == expected[0]
    np.testing.assert_allclose(overlaps, expected[1], rtol=1e-4, atol=1e-6)


ROWS = [
    [0, 1, 0, 0.1, 0.2, 0.3, 0.4, 0],
    [-1, 9, 0, 0, 0, 0, 0, 0],
    [2, 3, 0, 0.5, 0.5, 0.6, 0.7, 1],
]


def test_objects_are_read_without_fillers() -> None:
    truth = read_ground_truth(
        layer_of('type: "MultiBoxLoss"'), blob_of([[ROWS]]), background=0, num_labels=4, use_difficult=True
    )
    assert truth.images.tolist() == [0, 2]
    assert truth.labels.tolist() == [1, 3]
    np.testing.assert_allclose(truth.boxes, [[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.6, 0.7]])


def test_difficult_objects_may_be_left_out() -> None:
    truth = read_ground_truth(
        layer_of('type: "MultiBoxLoss"'), blob_of([[ROWS]]), background=0, num_labels=4, use_difficult=False
    )
    assert truth.images.tolist() == [0]


@pytest.mark.parametrize(
    ("label", "num_labels", "allowed"),
    [(0, 4, "0 to 3"), (4, 4, "0 to 3"), (-2, 4, "0 to 3"), (0, None, "0 and above"), (-2, None, "0 and above")],
)
def test_a_label_that_cannot_be_is_refused(label: int, num_labels: int | None, allowed: str) -> None:
    rows = [[0, label, 0, 0.1, 0.2, 0.3, 0.4, 0]]
    with pytest.raises(NetError, match=rf"layer 'l' \(MultiBoxLoss\).*label {label}; allowed are {allowed}"):
        read_ground_truth(
            layer_of('type: "MultiBoxLoss"'),
            blob_of([[rows]]),
            background=0,
            num_labels=num_labels,
            use_difficult=True,
        )


def test_any_label_will_do_where_objects_are_one_class() -> None:
    truth = read_ground_truth(
        layer_of('type: "MultiBoxLoss"'),
        blob_of([[[[0, 77, 0, 0, 0, 1, 1, 0]]]]),
        background=0,
        num_labels=None,
        use_difficult=True,
    )
    assert truth.labels.tolist() == [77]
