import numpy as np
import pytest

from farlayer.engine.layers.detection.boxes import BoxCode, areas, crosses_border, overlaps
from farlayer.engine.scratch import Scratch
from farlayer.protos import caffe_pb2
from tests.engine.layers.detection import reference

CODE_TYPES = ["CORNER", "CENTER_SIZE", "CORNER_SIZE"]


def code_of(code_type: str, variance_in_target: bool = False) -> BoxCode:
    return BoxCode(caffe_pb2.PriorBoxParameter.CodeType.Value(code_type), variance_in_target)


def random_boxes(*shape: int, seed: int = 3) -> np.ndarray:
    """Boxes with a width and height from 0.1 to 0.4."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(-0.1, 0.7, (*shape, 2))
    return np.concatenate([low, low + rng.uniform(0.1, 0.4, (*shape, 2))], axis=-1).astype(np.float32)


def test_areas_are_width_times_height_and_0_where_corners_are_swapped() -> None:
    boxes = np.array([[0, 0, 2, 3], [1, 1, 1, 5], [2, 0, 1, 1], [0, 2, 1, 1]], np.float32)
    np.testing.assert_array_equal(areas(boxes), [6, 0, 0, 0])
    np.testing.assert_array_equal(areas(boxes, extent=1), [12, 5, 0, 0])


def test_the_overlap_of_boxes_is_their_intersection_over_their_union() -> None:
    boxes = np.array([[0, 0, 2, 2]], np.float32)
    others = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [0, 0, 1, 1], [2, 0, 4, 2], [5, 5, 6, 6]], np.float32)
    np.testing.assert_allclose(overlaps(boxes, others, Scratch()), [[1, 1 / 7, 1 / 4, 0, 0]], rtol=1e-6)


def test_with_an_extent_of_1_coordinates_number_pixels() -> None:
    boxes = np.array([[0, 0, 9, 9]], np.float32)
    # The second shares a column of pixels; the third begins behind the first, if less than a pixel.
    others = np.array([[0, 0, 9, 9], [9, 0, 18, 9], [9.5, 0, 18, 9]], np.float32)
    np.testing.assert_allclose(overlaps(boxes, others, Scratch(), extent=1), [[1, 10 / 190, 0]], rtol=1e-6)


def test_empty_boxes_overlap_nothing() -> None:
    boxes = np.array([[1, 1, 1, 1], [2, 2, 1, 1]], np.float32)
    np.testing.assert_array_equal(overlaps(boxes, boxes, Scratch()), np.zeros((2, 2)))


@pytest.mark.parametrize("extent", [0, 1])
def test_all_pairs_are_those_of_the_definition(extent: int) -> None:
    boxes, others = random_boxes(7), random_boxes(5, seed=4)
    expected = [[reference.overlap(a, b, extent) for b in others.tolist()] for a in boxes.tolist()]
    np.testing.assert_allclose(overlaps(boxes, others, Scratch(), extent), expected, rtol=1e-4, atol=1e-6)


def test_without_boxes_there_are_no_overlaps() -> None:
    assert overlaps(random_boxes(0), random_boxes(3), Scratch()).shape == (0, 3)


def test_coordinates_below_0_and_above_1_cross_the_border() -> None:
    boxes = np.array([[0, -0.1, 1, 1.1]], np.float32)
    np.testing.assert_array_equal(crosses_border(boxes), [[False, True, False, True]])


@pytest.mark.parametrize("variance_in_target", [False, True])
@pytest.mark.parametrize("code_type", CODE_TYPES)
def test_codes_are_those_of_the_definition(code_type: str, variance_in_target: bool) -> None:
    boxes, priors = random_boxes(6), random_boxes(6, seed=4)
    variances = np.random.default_rng(1).uniform(0.1, 0.3, (6, 4)).astype(np.float32)
    codes = code_of(code_type, variance_in_target).encode(boxes, priors, variances)
    expected = [
        reference.encode(*(rows[i].tolist() for rows in (boxes, priors, variances)), code_type, variance_in_target)
        for i in range(6)
    ]
    np.testing.assert_allclose(codes, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variance_in_target", [False, True])
@pytest.mark.parametrize("code_type", CODE_TYPES)
def test_decoding_gives_the_boxes_that_were_encoded(code_type: str, variance_in_target: bool) -> None:
    boxes, priors = random_boxes(6), random_boxes(6, seed=4)
    variances = np.random.default_rng(1).uniform(0.1, 0.3, (6, 4)).astype(np.float32)
    code = code_of(code_type, variance_in_target)
    decoded = code.decode(code.encode(boxes, priors, variances), priors, variances, Scratch())
    np.testing.assert_allclose(decoded, boxes, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("code_type", CODE_TYPES)
def test_many_codes_are_decoded_relative_to_the_same_priors(code_type: str) -> None:
    codes = np.random.default_rng(2).uniform(-1, 1, (2, 6, 3, 4)).astype(np.float32)
    priors, variances = random_boxes(6), np.full((6, 4), 0.2, np.float32)
    decoded = code_of(code_type).decode(codes, priors[:, None], variances[:, None], Scratch())
    for (image, prior, loc_class), _ in np.ndenumerate(codes[..., 0]):
        expected = reference.decode(codes[image, prior, loc_class], priors[prior].tolist(), [0.2] * 4, code_type, False)
        np.testing.assert_allclose(decoded[image, prior, loc_class], expected, rtol=1e-4, atol=1e-5)


def test_a_worked_example_of_center_size() -> None:
    prior, box = np.array([[0.2, 0.2, 0.6, 0.4]], np.float32), np.array([[0.3, 0.1, 0.5, 0.5]], np.float32)
    variances = np.array([[0.1, 0.1, 0.2, 0.2]], np.float32)
    codes = code_of("CENTER_SIZE").encode(box, prior, variances)
    # Same centers; half the width, twice the height.
    np.testing.assert_allclose(codes, [[0, 0, np.log(0.5) / 0.2, np.log(2) / 0.2]], rtol=1e-5, atol=1e-6)
