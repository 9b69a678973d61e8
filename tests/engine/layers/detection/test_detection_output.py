from pathlib import Path

import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.layer import Layer
from farlayer.protos.errors import NetError
from tests.engine.layers.detection import reference
from tests.engine.layers.detection.test_boxes import random_boxes
from tests.engine.support import (
    assert_nothing_is_allocated,
    assert_untouched,
    blob_of,
    layer_of,
    native_net,
    random_blob,
    run,
    set_up,
    untouched,
)

NUM, NUM_PRIORS, NUM_CLASSES = 2, 20, 3


def layer_with(text: str) -> Layer:
    return layer_of(f'type: "DetectionOutput" detection_output_param {{ {text} }}')


def bottoms(
    num_loc_classes: int = 1, *, num: int = NUM, num_priors: int = NUM_PRIORS, classes: int = NUM_CLASSES
) -> list[Blob]:
    rng = np.random.default_rng(5)
    return [
        blob_of(rng.normal(0, 0.4, (num, num_priors * num_loc_classes * 4))),
        blob_of(rng.uniform(0, 1, (num, num_priors * classes))),
        blob_of([[random_boxes(num_priors, seed=8).reshape(-1), np.tile([0.1, 0.1, 0.2, 0.2], num_priors)]]),
    ]


def expected_rows(
    bottom: list[Blob],
    *,
    code_type: str = "CORNER",
    variance_in_target: bool = False,
    background: int = 0,
    least_score: float = -np.inf,
    threshold: float = 0.3,
    eta: float = 1,
    top_k: int = -1,
    keep_top_k: int = -1,
) -> list[list[float]]:
    """The rows of the top, from the definition."""
    priors, variances = bottom[2].data.reshape(2, NUM_PRIORS, 4).tolist()
    codes = bottom[0].data.reshape(NUM, NUM_PRIORS, -1, 4)
    scores = bottom[1].data.reshape(NUM, NUM_PRIORS, -1)
    rows: list[list[float]] = []
    for image in range(NUM):
        found = []
        for label in range(scores.shape[2]):
            if label == background:
                continue
            loc_class = label if codes.shape[2] > 1 else 0
            passing = [p for p in range(NUM_PRIORS) if scores[image, p, label] > least_score]
            boxes = [
                reference.decode(codes[image, p, loc_class], priors[p], variances[p], code_type, variance_in_target)
                for p in passing
            ]
            own = [float(scores[image, p, label]) for p in passing]
            found += [[image, label, own[k], *boxes[k]] for k in reference.nms(boxes, own, threshold, eta, top_k)]
        if -1 < keep_top_k < len(found):
            limit = sorted((row[2] for row in found), reverse=True)[:keep_top_k]
            found = [row for row in found if row[2] in limit]
        rows += found
    return rows


CASES = [
    ("", {}),
    ("nms_param { nms_threshold: 0 }", {"threshold": 0}),
    ("nms_param { nms_threshold: 0.9 }", {"threshold": 0.9}),
    ("nms_param { top_k: 5 }", {"top_k": 5}),
    ("nms_param { top_k: -1 }", {}),
    ("nms_param { nms_threshold: 0.7 eta: 0.8 }", {"threshold": 0.7, "eta": 0.8}),
    ("keep_top_k: 7", {"keep_top_k": 7}),
    ("keep_top_k: 1000", {}),
    ("keep_top_k: 0 confidence_threshold: 2", {"least_score": 2}),
    ("confidence_threshold: 0.8", {"least_score": np.float32(0.8)}),
    ("background_label_id: 1", {"background": 1}),
    ("background_label_id: -1", {"background": -1}),
    ("background_label_id: 9", {"background": -1}),
    ("code_type: CENTER_SIZE", {"code_type": "CENTER_SIZE"}),
    ("code_type: CORNER_SIZE", {"code_type": "CORNER_SIZE"}),
    ("variance_encoded_in_target: true", {"variance_in_target": True}),
    (
        "code_type: CENTER_SIZE variance_encoded_in_target: true",
        {"code_type": "CENTER_SIZE", "variance_in_target": True},
    ),
]


@pytest.mark.parametrize("share_location", [True, False])
@pytest.mark.parametrize(("text", "options"), CASES)
def test_detections_are_those_of_the_definition(text: str, options: dict, share_location: bool) -> None:
    bottom = bottoms(1 if share_location else NUM_CLASSES)
    layer = layer_with(f"num_classes: {NUM_CLASSES} share_location: {str(share_location).lower()} {text}")
    (top,) = run(layer, bottom)
    expected = expected_rows(bottom, **options) or [[image, *[-1] * 6] for image in range(NUM)]
    assert top.shape == (1, 1, len(expected), 7)
    np.testing.assert_allclose(top.data[0, 0], expected, rtol=1e-4, atol=1e-5)


# The case of SSD's own test: four priors in the quarters of the image, moved to its middle in image 1.


def quarters(share_location: bool) -> list[Blob]:
    centers = [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)]
    priors = [[x - 0.15, y - 0.15, x + 0.15, y + 0.15] for x, y in centers]
    loc = [
        [[[(0.5 - (x > 0.5)) * 2 * d, (0.5 - (y > 0.5)) * 2 * d] * 2 for d in moves] for x, y in centers]
        for moves in ([0.5, 1.0], [1.5, 2.0])
    ]
    conf = [[[s, 1 - s] if image else [1 - (1 - s), 1 - s] for s in (0, 0.2, 0.4, 0.6)] for image in range(2)]
    conf[1] = [[1 - s, s] for s in (0, 0.2, 0.4, 0.6)]
    codes = np.array(loc)[:, :, :1] if share_location else np.array(loc)
    return [
        blob_of(codes.reshape(2, -1)),
        blob_of(np.array(conf).reshape(2, -1)),
        blob_of([[np.reshape(priors, -1), [0.1] * 16]]),
    ]


SHARED = [
    [0, 1, 1.0, 0.15, 0.15, 0.45, 0.45],
    [0, 1, 0.8, 0.55, 0.15, 0.85, 0.45],
    [0, 1, 0.6, 0.15, 0.55, 0.45, 0.85],
    [0, 1, 0.4, 0.55, 0.55, 0.85, 0.85],
    [1, 1, 0.6, 0.45, 0.45, 0.75, 0.75],
    [1, 1, 0.0, 0.25, 0.25, 0.55, 0.55],
]
APART = [
    [0, 0, 0.6, 0.55, 0.55, 0.85, 0.85],
    [0, 0, 0.4, 0.15, 0.55, 0.45, 0.85],
    [0, 0, 0.2, 0.55, 0.15, 0.85, 0.45],
    [0, 0, 0.0, 0.15, 0.15, 0.45, 0.45],
    [0, 1, 1.0, 0.20, 0.20, 0.50, 0.50],
    [0, 1, 0.8, 0.50, 0.20, 0.80, 0.50],
    [0, 1, 0.6, 0.20, 0.50, 0.50, 0.80],
    [0, 1, 0.4, 0.50, 0.50, 0.80, 0.80],
    [1, 0, 1.0, 0.25, 0.25, 0.55, 0.55],
    [1, 0, 0.4, 0.45, 0.45, 0.75, 0.75],
    [1, 1, 0.6, 0.40, 0.40, 0.70, 0.70],
]


@pytest.mark.parametrize(
    ("share_location", "text", "expected"),
    [
        (True, "background_label_id: 0 nms_param { nms_threshold: 0.1 }", SHARED),
        (True, "background_label_id: 0 nms_param { nms_threshold: 0.1 top_k: 2 }", [SHARED[i] for i in (0, 1, 4)]),
        (False, "background_label_id: -1 nms_param { nms_threshold: 0.1 }", APART),
        (
            False,
            "background_label_id: -1 nms_param { nms_threshold: 0.1 top_k: 2 }",
            [APART[i] for i in (0, 1, 4, 5, 8, 10)],
        ),
        (False, "background_label_id: 0 nms_param { nms_threshold: 0.1 }", [APART[i] for i in (4, 5, 6, 7, 10)]),
    ],
)
def test_the_cases_of_ssd_give_its_values(share_location: bool, text: str, expected: list[list[float]]) -> None:
    layer = layer_with(f"num_classes: 2 share_location: {str(share_location).lower()} {text}")
    (top,) = run(layer, quarters(share_location))
    np.testing.assert_allclose(top.data[0, 0], expected, rtol=1e-5, atol=1e-6)


def test_the_best_of_all_classes_are_kept() -> None:
    bottom = quarters(True)
    (top,) = run(layer_with("num_classes: 2 background_label_id: -1 keep_top_k: 3"), bottom)
    assert top.data[0, 0, :3, 1].tolist() == [0, 1, 1]
    np.testing.assert_allclose(top.data[0, 0, :3, 2], [0.6, 1, 0.8])


def test_the_shape_is_1_row_until_forward() -> None:
    (top,) = set_up(layer_with("num_classes: 3"), bottoms())
    assert top.shape == (1, 1, 1, 7)


def test_where_nothing_is_found_each_image_has_a_row_of_minus_1() -> None:
    (top,) = run(layer_with("num_classes: 3 confidence_threshold: 2"), bottoms())
    np.testing.assert_array_equal(top.data, [[[[0] + [-1] * 6, [1] + [-1] * 6]]])


def test_scores_that_are_no_numbers_are_no_detections() -> None:
    bottom = bottoms()
    bottom[1].data[...] = np.nan
    (top,) = run(layer_with("num_classes: 3"), bottom)
    assert (top.data[..., 1:] == -1).all()


def test_an_empty_batch_has_no_rows() -> None:
    (top,) = run(layer_with("num_classes: 3"), bottoms(num=0))
    assert top.shape == (1, 1, 0, 7)


def test_without_priors_nothing_is_found() -> None:
    (top,) = run(layer_with("num_classes: 3 code_type: CENTER_SIZE"), bottoms(num_priors=0))
    assert (top.data[..., 1:] == -1).all()


def test_only_a_background_class_gives_nothing() -> None:
    (top,) = run(layer_with("num_classes: 1"), bottoms(classes=1))
    assert (top.data[..., 1:] == -1).all()


def test_the_fourth_bottom_is_not_looked_at() -> None:
    bottom = bottoms()
    (three,) = run(layer_with("num_classes: 3"), bottom)
    (four,) = run(layer_with("num_classes: 3"), [*bottom, random_blob(2, 3, 8, 8)])
    np.testing.assert_array_equal(four.data, three.data)


def test_a_layer_behind_sees_the_shape_that_forward_made() -> None:
    net = native_net(
        'layer { name: "in" type: "Input" top: "loc" top: "conf" top: "prior" input_param { '
        "shape { dim: 1 dim: 16 } shape { dim: 1 dim: 8 } shape { dim: 1 dim: 2 dim: 16 } } } "
        'layer { name: "out" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "prior" top: "out" '
        "detection_output_param { num_classes: 2 } } "
        'layer { name: "copy" type: "TanH" bottom: "out" top: "copy" }'
    )
    for name, blob in zip(("loc", "conf", "prior"), quarters(True), strict=True):
        net.blobs[name].data[...] = blob.data[:1]
    net.forward()
    assert net.blobs["out"].shape == net.blobs["copy"].shape == (1, 1, 4, 7)


def test_there_is_no_gradient() -> None:
    bottom = bottoms()
    layer = layer_with("num_classes: 3")
    top = run(layer, bottom)
    for blob in bottom:
        untouched(blob)
    layer.run_backward(top, [False] * 3, bottom)
    for blob in bottom:
        assert_untouched(blob)
    with pytest.raises(NetError, match="it has no gradient"):
        layer.run_backward(top, [True, False, False], bottom)
    assert not layer.allow_force_backward(0)


@pytest.mark.parametrize("code_type", ["CORNER", "CENTER_SIZE", "CORNER_SIZE"])
def test_a_steady_state_allocates_nothing_the_size_of_the_scores(code_type: str) -> None:
    bottom = bottoms(num=8, num_priors=500, classes=81)
    bottom[1].data[...] **= 20  # few good ones, as a net gives them
    text = f"num_classes: 81 code_type: {code_type} confidence_threshold: 0.5 nms_param {{ top_k: 20 }} keep_top_k: 50"
    assert_nothing_is_allocated(layer_with(text), bottom, backward=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "num_classes is not given"),
        ("num_classes: 3 nms_param { nms_threshold: -0.1 }", "nms_threshold is -0.1"),
        ("num_classes: 3 nms_param { eta: 0 }", "eta is 0"),
        ("num_classes: 3 nms_param { eta: 1.5 }", "eta is 1.5"),
        ("num_classes: 4", "confidence predictions have shape"),
        ("num_classes: 3 share_location: false", "location predictions have shape"),
    ],
)
def test_parameters_that_cannot_be_are_refused(text: str, message: str) -> None:
    with pytest.raises(NetError, match=rf"layer 'l' \(DetectionOutput\).*{message}"):
        run(layer_with(text), bottoms())


def test_visualize_changes_nothing_but_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Nets that show videos have it, and what they detect is the same."""
    (plain,) = run(layer_with("num_classes: 3"), bottoms())
    assert not caplog.records
    (visualized,) = run(layer_with("num_classes: 3 visualize: true visualize_threshold: 0.6"), [*bottoms(), Blob((1,))])
    np.testing.assert_array_equal(visualized.data, plain.data)
    assert "visualize has no effect" in caplog.text


def test_two_bottoms_are_refused() -> None:
    with pytest.raises(NetError, match="takes 3 to 4 bottom"):
        run(layer_with("num_classes: 3"), bottoms()[:2])


def test_detections_go_to_files(tmp_path: Path) -> None:
    (tmp_path / "labels").write_text('item { name: "none" label: 0 } item { name: "cat" label: 1 }')
    (tmp_path / "sizes").write_text("first 100 200\nsecond 100 100\n")
    text = (
        f"num_classes: 2 nms_param {{ nms_threshold: 0.1 }} save_output_param {{ output_directory: '{tmp_path}/out' "
        f"output_format: 'VOC' label_map_file: '{tmp_path}/labels' name_size_file: '{tmp_path}/sizes' }}"
    )
    run(layer_with(text), quarters(True))
    assert (tmp_path / "out" / "cat.txt").read_text().splitlines() == [
        "first 1 30 15 90 45",
        "first 0.8 110 15 170 45",
        "first 0.6 30 55 90 85",
        "first 0.4 110 55 170 85",
        "second 0.6 45 45 75 75",
        "second 0 25 25 55 55",
    ]
