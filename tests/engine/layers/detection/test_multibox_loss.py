from dataclasses import replace

import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.engine.layer import Layer
from farlayer.protos.errors import BlobError, NetError
from tests.engine.layers.detection import reference
from tests.engine.layers.detection.reference import MultiBox
from tests.engine.layers.detection.test_boxes import random_boxes
from tests.engine.support import (
    assert_nothing_is_allocated,
    assert_untouched,
    blob_of,
    layer_of,
    native_net,
    random_blob,
    run,
    untouched,
)

NUM, NUM_PRIORS = 3, 12
VARIANCE = [0.1, 0.1, 0.2, 0.2]
DOWN = [True, True, False, False]

DEFAULT = MultiBox()
NO_MINING = MultiBox(mining_type="NONE")
HARD = MultiBox(mining_type="HARD_EXAMPLE", sample_size=4)
APART = MultiBox(mining_type="NONE", share_location=False)
LOGISTIC = MultiBox(conf_loss_type="LOGISTIC")
CASES = {
    "as given by default": DEFAULT,
    "L2": replace(DEFAULT, loc_loss_type="L2", code_type="CENTER_SIZE"),
    "logistic": LOGISTIC,
    "location weighs more": replace(DEFAULT, loc_weight=2.5),
    "center size": replace(DEFAULT, code_type="CENTER_SIZE"),
    "corner size": replace(DEFAULT, code_type="CORNER_SIZE"),
    "corner, variance in target": replace(DEFAULT, encode_variance_in_target=True),
    "center size, variance in target": replace(DEFAULT, code_type="CENTER_SIZE", encode_variance_in_target=True),
    "corner size, variance in target": replace(DEFAULT, code_type="CORNER_SIZE", encode_variance_in_target=True),
    "bipartite": replace(DEFAULT, match_type="BIPARTITE", overlap_threshold=0.25),
    "another threshold": replace(DEFAULT, overlap_threshold=0.25),
    "predictions are matched": replace(DEFAULT, use_prior_for_matching=False, overlap_threshold=0.2),
    "predictions are matched, bipartite": replace(
        DEFAULT, use_prior_for_matching=False, match_type="BIPARTITE", overlap_threshold=0.2
    ),
    "no difficult objects": replace(DEFAULT, use_difficult_gt=False),
    "few negatives": replace(DEFAULT, neg_pos_ratio=0.5),
    "no negatives": replace(DEFAULT, neg_pos_ratio=0),
    "many negatives": replace(DEFAULT, neg_pos_ratio=10),
    "negatives overlap little": replace(DEFAULT, neg_overlap=0.1),
    "priors inside only": replace(DEFAULT, ignore_cross_boundary_bbox=True),
    "priors inside only, no mining": replace(NO_MINING, ignore_cross_boundary_bbox=True),
    "gradient inside only": replace(DEFAULT, bp_inside=True),
    "gradient of predictions inside only": replace(DEFAULT, bp_inside=True, use_prior_for_matching=False),
    "no mining": NO_MINING,
    "no mining, logistic": replace(LOGISTIC, mining_type="NONE"),
    "another background": replace(DEFAULT, num_classes=4, background_label_id=3),
    "another background, logistic": replace(LOGISTIC, num_classes=4, background_label_id=3),
    "another background, logistic, no mining": replace(
        LOGISTIC, num_classes=4, background_label_id=3, mining_type="NONE"
    ),
    "no background": replace(LOGISTIC, background_label_id=-1),
    "no background, no mining": replace(LOGISTIC, background_label_id=-1, mining_type="NONE"),
    "objects are one class": replace(DEFAULT, num_classes=2, map_object_to_agnostic=True),
    "objects are one class without a background": replace(
        LOGISTIC, num_classes=1, map_object_to_agnostic=True, background_label_id=-1
    ),
    "objects are one class, hard examples": replace(HARD, num_classes=2, map_object_to_agnostic=True),
    "hard examples": HARD,
    "hard examples, logistic, L2": replace(HARD, conf_loss_type="LOGISTIC", loc_loss_type="L2"),
    "hard examples, all of them": replace(HARD, sample_size=100),
    "hard examples, priors inside only": replace(HARD, ignore_cross_boundary_bbox=True, sample_size=6),
    "suppression of priors": replace(DEFAULT, nms_threshold=0.1, use_prior_for_nms=True, neg_pos_ratio=10),
    "suppression of predictions": replace(DEFAULT, nms_threshold=0.1, neg_pos_ratio=10),
    "suppression of the best 3": replace(DEFAULT, nms_threshold=0.1, nms_top_k=3, neg_pos_ratio=10),
    "hard examples, suppression": replace(HARD, nms_threshold=0.2, code_type="CENTER_SIZE", sample_size=8),
    "a suppression that allows all": replace(DEFAULT, nms_threshold=0.0, nms_top_k=0),
    "a box a class": APART,
    "a box a class, predictions are matched": replace(APART, use_prior_for_matching=False, overlap_threshold=0.3),
    "a box a class, logistic, predictions are matched": replace(
        APART, conf_loss_type="LOGISTIC", use_prior_for_matching=False, overlap_threshold=0.3
    ),
    "a box a class, another background": replace(APART, num_classes=4, background_label_id=3),
}


def rows_of(priors: np.ndarray) -> np.ndarray:
    """Objects near some priors: two in image 0, three in image 1, of which one is difficult, none in image 2."""
    jitter = np.random.default_rng(11).uniform(-0.03, 0.03, (6, 4))
    rows = np.zeros((6, 8), np.float32)
    rows[:, 0] = [0, 0, -1, 1, 1, 1]
    rows[:, 1] = [1, 2, 7, 2, 1, 1]
    rows[:, 3:7] = priors[[0, 4, 1, 3, 7, 10]] + jitter
    rows[5, 7] = 1
    return rows


def bottoms(param: MultiBox, *, seed: int = 1) -> list[Blob]:
    rng = np.random.default_rng(seed)
    boxes = random_boxes(NUM_PRIORS, seed=8)
    num_boxes = NUM_PRIORS * (1 if param.share_location else param.num_classes)
    # Scores of a prior differ from those of the next: no small step changes which ones are mined.
    scores = rng.permutation(NUM * NUM_PRIORS * param.num_classes).reshape(NUM, -1) * 0.11 - 3
    return [
        blob_of(rng.normal(0, 0.7, (NUM, num_boxes * 4))),
        blob_of(scores),
        blob_of([[boxes.reshape(-1), np.tile(VARIANCE, NUM_PRIORS)]]),
        blob_of([[rows_of(boxes)]]),
    ]


def layer_with(param: MultiBox, extra: str = "") -> Layer:
    return layer_of(f'type: "MultiBoxLoss" {param.text()} {extra}')


UNDIVIDED = "loss_param { normalization: NONE }"


def expected_of(param: MultiBox, bottom: list[Blob]) -> reference.Result:
    return reference.multibox_loss(
        param,
        bottom[0].data.reshape(NUM, NUM_PRIORS, -1, 4),
        bottom[1].data.reshape(NUM, NUM_PRIORS, -1),
        bottom[2].data.reshape(2, NUM_PRIORS, 4),
        bottom[3].data.reshape(-1, 8),
    )


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_the_loss_is_that_of_the_definition(name: str, seed: int) -> None:
    param = CASES[name]
    bottom = bottoms(param, seed=seed)
    expected = expected_of(param, bottom)
    assert expected.positives
    (top,) = run(layer_with(param, UNDIVIDED), bottom)
    assert top.shape == ()
    assert top.data == pytest.approx(param.loc_weight * expected.location + expected.confidence, rel=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_gradients_go_to_what_counts(name: str) -> None:
    param = CASES[name]
    bottom = bottoms(param)
    expected = expected_of(param, bottom)
    layer = layer_with(param)
    layer.run_backward(run(layer, bottom), DOWN, bottom)
    conf_rows = np.argwhere(bottom[1].diff.reshape(NUM, NUM_PRIORS, -1).any(axis=2))
    counting = {(image, prior) for image, prior, _ in expected.positives} | set(expected.negatives)
    if param.mining_type == "NONE":
        counting = {(image, prior) for image in range(NUM) for prior in range(NUM_PRIORS)}
    assert set(map(tuple, conf_rows.tolist())) == counting
    loc_rows = np.argwhere(bottom[0].diff.reshape(NUM, NUM_PRIORS, -1, 4).any(axis=(2, 3)))
    matched = {(image, prior) for image, prior, _ in expected.positives}
    assert set(map(tuple, loc_rows.tolist())) <= matched
    if not param.bp_inside:
        assert len(loc_rows) == len(matched)


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_is_right(name: str) -> None:
    param = CASES[name]
    # Without the factor 1 / variance: see below.
    check_bottom = [1] if param.encode_variance_in_target else [0, 1]
    bottom = bottoms(param)
    for blob in bottom[:2]:
        blob.reshape(NUM - 1, blob.shape[1])  # without the image that has no objects
    checker = GradientChecker(step=5e-3, threshold=4e-3)
    assert checker.check(layer_with(param), bottom, [Blob()], check_bottom=check_bottom)


def test_with_the_variance_in_the_target_the_gradient_lacks_its_factor() -> None:
    param = replace(DEFAULT, encode_variance_in_target=True, loc_loss_type="L2")
    bottom = bottoms(param)
    layer = layer_with(param)
    top = run(layer, bottom)
    layer.run_backward(top, DOWN, bottom)
    gradient = bottom[0].diff.copy()
    numeric = np.zeros_like(gradient)
    for place in np.argwhere(gradient):
        for sign in (1, -1):
            bottom[0].data[tuple(place)] += sign * 1e-2
            numeric[tuple(place)] += sign * layer.run_forward(bottom, top) / 2e-2
            bottom[0].data[tuple(place)] -= sign * 1e-2
    variances = np.tile(VARIANCE, NUM_PRIORS)
    assert gradient.any()
    np.testing.assert_allclose(gradient, numeric * variances, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("loss_param", "divisor"),
    [
        ("", None),
        ("normalization: VALID", None),
        ("normalization: FULL", NUM * NUM_PRIORS),
        ("normalization: BATCH_SIZE", NUM),
        ("normalization: NONE", 1),
        ("normalize: true", None),
        ("normalize: false", NUM),
        ("normalize: false normalization: FULL", NUM * NUM_PRIORS),
    ],
)
def test_the_loss_is_divided_as_the_normalization_says(loss_param: str, divisor: int | None) -> None:
    bottom = bottoms(DEFAULT)
    expected = expected_of(DEFAULT, bottom)
    (top,) = run(layer_with(DEFAULT, f"loss_param {{ {loss_param} }}"), bottom)
    by = divisor or len(expected.positives)
    assert top.data == pytest.approx((expected.location + expected.confidence) / by, rel=1e-4)


def test_a_worked_example() -> None:
    # One prior, which is the object, and one apart from it, the only negative. Codes are off by 0.5 / 0.1 and 0.
    priors = [0.1, 0.1, 0.5, 0.5, 0.6, 0.6, 0.9, 0.9]
    bottom = [
        blob_of([[5, 0, 0, 0, 9, 9, 9, 9]]),
        blob_of([[0, 0, 0, np.log(3)]]),
        blob_of([[priors, [0.1] * 8]]),
        blob_of([[[[0, 1, 0, 0.1, 0.1, 0.5, 0.5, 0]]]]),
    ]
    layer = layer_of('type: "MultiBoxLoss" multibox_loss_param { num_classes: 2 }')
    top = run(layer, bottom)
    assert top[0].data == pytest.approx(4.5 + np.log(2) + np.log(4), rel=1e-5)
    layer.run_backward(top, DOWN, bottom)
    np.testing.assert_allclose(bottom[0].diff, [[1, 0, 0, 0, 0, 0, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(bottom[1].diff, [[0.5, -0.5, -0.75, 0.75]], rtol=1e-5)


@pytest.mark.parametrize("counting", [(True, False), (False, True), (False, False)])
def test_propagate_down_tells_which_part_of_the_loss_counts(counting: tuple[bool, bool]) -> None:
    bottom = bottoms(DEFAULT)
    expected = expected_of(DEFAULT, bottom)
    lines = "".join(f" propagate_down: {str(flag).lower()}" for flag in (*counting, False, False))
    (top,) = run(layer_with(DEFAULT, UNDIVIDED + lines), bottom)
    assert top.data == pytest.approx(counting[0] * expected.location + counting[1] * expected.confidence, rel=1e-4)


def test_without_propagate_down_the_diff_stays() -> None:
    bottom = bottoms(DEFAULT)
    layer = layer_with(DEFAULT)
    top = run(layer, bottom)
    for blob in bottom:
        untouched(blob)
    layer.run_backward(top, [False] * 4, bottom)
    for blob in bottom:
        assert_untouched(blob)


def test_backward_may_run_twice() -> None:
    for param in (DEFAULT, NO_MINING):
        bottom = bottoms(param)
        layer = layer_with(param)
        top = run(layer, bottom)
        layer.run_backward(top, DOWN, bottom)
        first = [blob.diff.copy() for blob in bottom[:2]]
        layer.run_backward(top, DOWN, bottom)
        for blob, diff in zip(bottom, first, strict=False):
            np.testing.assert_array_equal(blob.diff, diff)


@pytest.mark.parametrize("index", [2, 3])
def test_priors_and_objects_have_no_gradient(index: int) -> None:
    bottom = bottoms(DEFAULT)
    layer = layer_with(DEFAULT)
    top = run(layer, bottom)
    with pytest.raises(NetError, match="priors and ground truth cannot have a gradient"):
        layer.run_backward(top, [position == index for position in range(4)], bottom)
    assert [layer.allow_force_backward(position) for position in range(4)] == DOWN


@pytest.mark.parametrize("param", [DEFAULT, HARD, LOGISTIC, replace(LOGISTIC, mining_type="NONE")])
def test_a_batch_without_objects_has_only_a_background(param: MultiBox) -> None:
    bottom = bottoms(param)
    bottom[3].data[:, :, :, 0] = -1
    expected = expected_of(param, bottom)
    layer = layer_with(param)
    top = run(layer, bottom)
    layer.run_backward(top, DOWN, bottom)
    assert top[0].data == pytest.approx(expected.confidence, rel=1e-5)
    assert (top[0].data > 0) == (param.mining_type == "NONE")
    assert not bottom[0].diff.any()


def test_no_rows_of_ground_truth_are_no_objects() -> None:
    bottom = bottoms(DEFAULT)
    bottom[3] = random_blob(1, 1, 0, 8)
    (top,) = run(layer_with(DEFAULT), bottom)
    assert top.data == 0


@pytest.mark.parametrize("param", [DEFAULT, NO_MINING, HARD, replace(DEFAULT, code_type="CENTER_SIZE")])
def test_without_priors_there_is_no_loss(param: MultiBox) -> None:
    bottom = [random_blob(NUM, 0), random_blob(NUM, 0), random_blob(1, 2, 0), bottoms(param)[3]]
    layer = layer_with(param)
    top = run(layer, bottom)
    layer.run_backward(top, DOWN, bottom)
    assert top[0].data == 0


@pytest.mark.parametrize("param", [DEFAULT, NO_MINING, APART, LOGISTIC])
def test_an_empty_batch_has_no_loss(param: MultiBox) -> None:
    bottom = bottoms(param)
    for blob in bottom[:2]:
        blob.reshape(0, blob.shape[1])
    layer = layer_with(param)
    top = run(layer, bottom)
    layer.run_backward(top, DOWN, bottom)
    assert top[0].data == 0


def test_objects_of_images_beyond_the_batch_do_not_count() -> None:
    bottom = bottoms(DEFAULT)
    before = run(layer_with(DEFAULT, UNDIVIDED), bottom)[0].data.copy()
    rows = bottom[3].data.reshape(-1, 8)
    rows[2, :2] = [NUM, 1]
    (top,) = run(layer_with(DEFAULT, UNDIVIDED), bottom)
    assert top.data == before


def test_another_batch_may_follow() -> None:
    bottom = bottoms(DEFAULT)
    layer = layer_with(DEFAULT, UNDIVIDED)
    top = run(layer, bottom)
    loss = top[0].data.copy()
    for blob in bottom[:2]:
        blob.reshape(1, blob.shape[1])
    layer.run_forward(bottom, top)
    assert 0 < top[0].data < loss
    for blob in bottom[:2]:
        blob.reshape(NUM, blob.shape[1])
    layer.run_forward(bottom, top)
    assert top[0].data == loss


@pytest.mark.parametrize("mining_type", ["MAX_NEGATIVE", "HARD_EXAMPLE", "NONE"])
@pytest.mark.parametrize("conf_loss_type", ["SOFTMAX", "LOGISTIC"])
def test_a_steady_state_allocates_nothing_the_size_of_the_scores(mining_type: str, conf_loss_type: str) -> None:
    rng = np.random.default_rng(1)
    num_priors, num_classes = 1000, 81
    boxes = random_boxes(num_priors)
    rows = np.zeros((4, 8))
    rows[:, 0], rows[:, 1], rows[:, 3:7] = np.arange(4), [1, 5, 9, 2], boxes[:4]
    bottom = [
        blob_of(rng.normal(size=(4, num_priors * 4))),
        blob_of(rng.normal(size=(4, num_priors * num_classes))),
        blob_of([[boxes.reshape(-1), [0.1] * num_priors * 4]]),
        blob_of([[rows]]),
    ]
    layer = layer_of(
        f'type: "MultiBoxLoss" multibox_loss_param {{ num_classes: {num_classes} mining_type: {mining_type} '
        f"conf_loss_type: {conf_loss_type} code_type: CENTER_SIZE }}"
    )
    assert_nothing_is_allocated(layer, bottom, propagate_down=DOWN)


NET = """
layer { name: "in" type: "Input" top: "x" top: "map" top: "gt" input_param {
  shape { dim: 1 dim: 4 } shape { dim: 1 dim: 1 dim: 1 dim: 1 } shape { dim: 1 dim: 1 dim: 1 dim: 8 } } }
layer { name: "loc" type: "InnerProduct" bottom: "x" top: "loc" inner_product_param { num_output: 8
  weight_filler { type: "gaussian" } } }
layer { name: "conf" type: "InnerProduct" bottom: "x" top: "conf" inner_product_param { num_output: 4
  weight_filler { type: "gaussian" } } }
layer { name: "prior" type: "PriorBox" bottom: "map" bottom: "map" top: "prior"
  prior_box_param { min_size: 10 max_size: 20 img_size: 40 } }
layer { name: "loss" type: "MultiBoxLoss" bottom: "loc" bottom: "conf" bottom: "prior" bottom: "gt" top: "loss"
  multibox_loss_param { num_classes: 2 } }
"""


def test_the_layer_learns_in_a_net() -> None:
    net = native_net(NET)
    net.blobs["x"].data[...] = 1
    net.blobs["gt"].data[...] = [0, 1, 0, 0.3, 0.3, 0.7, 0.7, 0]
    before = net.forward()
    for _ in range(20):
        net.forward()
        net.clear_param_diffs()
        net.backward()
        for param in net.layer("loc").params + net.layer("conf").params:
            param.data[...] -= 0.05 * param.diff
    assert net.forward() < before / 2


@pytest.mark.parametrize(
    ("index", "shape", "message"),
    [
        (0, (2, NUM_PRIORS * 4), "differ in the number of samples"),
        (0, (NUM, NUM_PRIORS * 4 + 4), "location predictions have shape"),
        (1, (NUM, NUM_PRIORS * 2), "confidence predictions have shape"),
        (2, (1, 1, NUM_PRIORS * 4), "priors have shape"),
        (3, (1, 1, 5, 7), r"ground truth has shape \(1, 1, 5, 7\), expected \(1, 1, number of objects, 8\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(index: int, shape: tuple[int, ...], message: str) -> None:
    bottom = bottoms(DEFAULT)
    bottom[index] = random_blob(*shape)
    with pytest.raises(NetError, match=rf"layer 'l' \(MultiBoxLoss\).*{message}"):
        run(layer_with(DEFAULT), bottom)


def test_a_bottom_of_five_axes_is_refused() -> None:
    bottom = bottoms(DEFAULT)
    bottom[3] = random_blob(1, 1, 1, 1, 8)
    with pytest.raises(BlobError, match="at most 4 axes"):
        run(layer_with(DEFAULT), bottom)


def test_an_object_with_the_label_of_the_background_is_refused() -> None:
    bottom = bottoms(DEFAULT)
    bottom[3].data[0, 0, 0, 1] = 0
    with pytest.raises(NetError, match="an object of label 0"):
        run(layer_with(DEFAULT), bottom)


def test_three_bottoms_are_refused() -> None:
    with pytest.raises(NetError, match="takes exactly 4 bottom"):
        run(layer_with(DEFAULT), bottoms(DEFAULT)[:3])
