import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlayer.engine.layers.detection.nms import best_first, suppress
from farlayer.engine.scratch import Scratch
from tests.engine.layers.detection import reference
from tests.engine.layers.detection.test_boxes import random_boxes


def test_the_best_come_first_and_equal_ones_in_their_order() -> None:
    scores = np.array([0.5, 0.9, 0.5, 0.1], np.float32)
    np.testing.assert_array_equal(best_first(scores, Scratch()), [1, 0, 2, 3])


@pytest.mark.parametrize(("top_k", "expected"), [(-1, [1, 0, 2]), (0, []), (2, [1, 0]), (9, [1, 0, 2])])
def test_top_k_takes_the_best(top_k: int, expected: list[int]) -> None:
    np.testing.assert_array_equal(best_first(np.array([0.5, 0.9, 0.4], np.float32), Scratch(), top_k), expected)


@pytest.mark.parametrize("top_k", [1, 5, 19, 20])
def test_of_equal_scores_the_first_are_taken(top_k: int) -> None:
    scores = np.random.default_rng(1).integers(0, 4, 20).astype(np.float32)
    order = sorted(range(20), key=lambda index: -scores[index])
    np.testing.assert_array_equal(best_first(scores, Scratch(), top_k), order[:top_k])


def test_what_is_no_number_comes_last() -> None:
    scores = np.array([np.nan, 0.5, np.nan, 0.9], np.float32)
    np.testing.assert_array_equal(best_first(scores, Scratch()), [3, 1, 0, 2])
    for top_k in (1, 2, 3):
        np.testing.assert_array_equal(best_first(scores, Scratch(), top_k), [3, 1, 0, 2][:top_k])


def test_a_box_that_overlaps_a_better_one_by_more_than_the_threshold_goes() -> None:
    # Overlaps with the first: 0.5 for the second, 1/3 for the third; the fourth overlaps only the third, that goes.
    boxes = np.array([[0, 0, 2, 1], [0, 0, 1, 1], [1, 0, 3, 1], [2.5, 0, 3.5, 1]], np.float32)
    np.testing.assert_array_equal(suppress(boxes, 0.5, Scratch()), [0, 1, 2, 3])
    np.testing.assert_array_equal(suppress(boxes, 0.4, Scratch()), [0, 2, 3])
    np.testing.assert_array_equal(suppress(boxes, 0.2, Scratch()), [0, 3])


def test_no_more_boxes_are_kept_than_asked_for() -> None:
    boxes = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [4, 4, 5, 5]], np.float32)
    np.testing.assert_array_equal(suppress(boxes, 0.5, Scratch(), most=2), [0, 2])
    assert suppress(boxes, 0.5, Scratch(), most=0).size == 0


def test_eta_lowers_the_threshold_with_each_box_that_is_kept() -> None:
    # Overlaps with the first are 0.7 and 0.6: both allowed by 0.8; after one box the threshold is 0.64.
    boxes = np.array([[0, 0, 10, 1], [0, 0, 7, 1], [4, 0, 10, 1]], np.float32)
    np.testing.assert_array_equal(suppress(boxes, 0.8, Scratch()), [0, 1, 2])
    np.testing.assert_array_equal(suppress(boxes, 0.8, Scratch(), eta=0.8), [0, 2])


def test_eta_leaves_a_threshold_of_a_half_alone() -> None:
    boxes = np.array([[0, 0, 10, 1], [0, 0, 5, 1]], np.float32)
    np.testing.assert_array_equal(suppress(boxes, 0.5, Scratch(), eta=0.1), [0, 1])


def test_without_boxes_none_are_kept() -> None:
    assert suppress(random_boxes(0), 0.5, Scratch()).size == 0


@settings(max_examples=25, deadline=None)
@given(
    num=st.integers(1, 60),
    seed=st.integers(0, 1000),
    threshold=st.sampled_from([0.0, 0.1, 0.3, 0.6, 0.9, 1.0]),
    eta=st.sampled_from([1.0, 0.9, 0.5]),
    extent=st.sampled_from([0, 1]),
)
def test_the_boxes_kept_are_those_of_the_definition(
    num: int, seed: int, threshold: float, eta: float, extent: int
) -> None:
    boxes = random_boxes(num, seed=seed) * (20 if extent else 1)
    expected = reference.nms(boxes.tolist(), [-i for i in range(num)], threshold, eta, extent=extent)
    np.testing.assert_array_equal(suppress(boxes, threshold, Scratch(), eta=eta, extent=extent), expected)


def test_many_boxes_are_worked_through_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = random_boxes(100, seed=5)
    whole = suppress(boxes, 0.3, Scratch())
    monkeypatch.setattr("farlayer.engine.layers.detection.nms._TABLE_VALUES", 1)
    np.testing.assert_array_equal(suppress(boxes, 0.3, Scratch()), whole)
    assert 16 < len(whole) < 100
