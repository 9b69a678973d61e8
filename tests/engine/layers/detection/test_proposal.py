import math

import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.layer import Layer
from farlayer.engine.layers.detection.proposal import generate_anchors
from farlayer.protos.errors import NetError
from tests.engine.layers.detection import reference
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

RATIOS, SCALES = [0.5, 1, 2], [2, 4]
NUM_ANCHORS = len(RATIOS) * len(SCALES)
INFO = [120, 160, 1.5]


def layer_with(text: str = "", *, ratios: list[float] = RATIOS, scales: list[float] = SCALES) -> Layer:
    given = " ".join([*(f"ratio: {ratio}" for ratio in ratios), *(f"scale: {scale}" for scale in scales)])
    return layer_of(f'type: "Proposal" proposal_param {{ {given} {text} }}')


def bottoms(num: int = 1, cells: tuple[int, int] = (7, 10), info: list[float] = INFO) -> list[Blob]:
    rng = np.random.default_rng(3)
    return [
        blob_of(rng.uniform(0, 1, (num, 2 * NUM_ANCHORS, *cells))),
        blob_of(rng.normal(0, 0.3, (num, 4 * NUM_ANCHORS, *cells))),
        blob_of([info] * max(num, 1)),
    ]


def expected_regions(
    bottom: list[Blob],
    *,
    stride: int = 16,
    min_size: tuple[float, float] = (24, 24),
    pre: int = 6000,
    post: int = 300,
    threshold: float = 0.7,
) -> tuple[list[list[float]], list[float]]:
    """Regions and scores from the definition; min_size is width and height."""
    anchors = generate_anchors(16, RATIOS, SCALES).tolist()
    regions, scores = [], []
    for image in range(bottom[0].shape[0]):
        height, width = bottom[2].data[image % bottom[2].shape[0], :2].tolist()
        boxes, own = [], []
        for y in range(bottom[0].shape[2]):
            for x in range(bottom[0].shape[3]):
                for a, anchor in enumerate(anchors):
                    dx, dy, dw, dh = bottom[1].data[image, 4 * a : 4 * a + 4, y, x].tolist()
                    w, h = anchor[2] - anchor[0] + 1, anchor[3] - anchor[1] + 1
                    center_x = x * stride + anchor[0] + w / 2 + dx * w
                    center_y = y * stride + anchor[1] + h / 2 + dy * h
                    w, h = w * math.exp(dw), h * math.exp(dh)
                    box = [center_x - w / 2, center_y - h / 2, center_x + w / 2, center_y + h / 2]
                    box = [max(0.0, min(box[i], (width, height)[i % 2] - 1)) for i in range(4)]
                    large = box[2] - box[0] + 1 >= min_size[0] and box[3] - box[1] + 1 >= min_size[1]
                    boxes.append(box)
                    own.append(float(bottom[0].data[image, NUM_ANCHORS + a, y, x]) if large else 0.0)
        for index in reference.nms(boxes, own, threshold, top_k=pre, extent=1)[:post]:
            regions.append([image, *boxes[index]])
            scores.append(own[index])
    return regions, scores


def test_anchors_are_those_of_py_faster_rcnn() -> None:
    np.testing.assert_array_equal(
        generate_anchors(16, [0.5, 1, 2], [8, 16, 32]),
        [
            [-84, -40, 99, 55],
            [-176, -88, 191, 103],
            [-360, -184, 375, 199],
            [-56, -56, 71, 71],
            [-120, -120, 135, 135],
            [-248, -248, 263, 263],
            [-36, -80, 51, 95],
            [-80, -168, 95, 183],
            [-168, -344, 183, 359],
        ],
    )


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", {}),
        ("post_nms_topn: 5", {"post": 5}),
        ("pre_nms_topn: 20", {"pre": 20}),
        ("nms_thresh: 0.2", {"threshold": 0.2}),
        ("nms_thresh: 0", {"threshold": 0}),
        ("nms_thresh: 1", {"threshold": 1}),
        ("feat_stride: 8", {"stride": 8}),
        ("min_size: 40", {"min_size": (60, 60)}),
        ("min_size: 0", {"min_size": (0, 0)}),
    ],
)
@pytest.mark.parametrize("num", [1, 3])
def test_regions_are_those_of_the_definition(text: str, options: dict, num: int) -> None:
    bottom = bottoms(num, (3, 5))
    top = run(layer_with(text), bottom, num_top=2)
    regions, scores = expected_regions(bottom, **options)
    assert top[0].shape == (len(regions), 5)
    np.testing.assert_allclose(top[1].data, scores, rtol=1e-5)
    np.testing.assert_allclose(top[0].data, regions, rtol=1e-4, atol=1e-3)


def test_the_scale_may_differ_by_side() -> None:
    bottom = bottoms(1, (3, 5), [120, 160, 1.5, 3.0])
    top = run(layer_with(), bottom, num_top=2)
    _, scores = expected_regions(bottom, min_size=(48, 24))
    np.testing.assert_allclose(top[1].data, scores, rtol=1e-5)


def test_images_may_share_a_size() -> None:
    bottom = bottoms(2, (3, 5))
    apart = run(layer_with(), bottom)[0].data.copy()
    bottom[2] = blob_of([INFO])
    np.testing.assert_array_equal(run(layer_with(), bottom)[0].data, apart)


def test_without_codes_the_best_anchor_is_the_region() -> None:
    bottom = [random_blob(1, 2, 1, 1), blob_of(np.zeros((1, 4, 1, 1))), blob_of([[100, 100, 1]])]
    bottom[0].data[...] = [[[[0.1]], [[0.9]]]]
    layer = layer_with("base_size: 16 min_size: 1", ratios=[1], scales=[2])
    top = run(layer, bottom, num_top=2)
    # The anchor is (-8, -8) to (23, 23), 32 pixels wide; as there, its right corner comes out a pixel further.
    np.testing.assert_array_equal(top[0].data, [[0, 0, 0, 24, 24]])
    np.testing.assert_allclose(top[1].data, [0.9])


def test_boxes_that_are_too_small_come_last_with_a_score_of_0() -> None:
    bottom = bottoms(1, (3, 5))
    top = run(layer_with("min_size: 40"), bottom, num_top=2)
    assert top[1].data[0] > 0
    assert top[1].data[-1] == 0


def test_an_empty_batch_has_no_regions() -> None:
    top = run(layer_with(), [*bottoms(0)[:2], random_blob(0, 3)], num_top=2)
    assert (top[0].shape, top[1].shape) == ((0, 5), (0,))


def test_another_size_may_follow() -> None:
    bottom = bottoms(1, (7, 10))
    layer = layer_with()
    top = run(layer, bottom)
    smaller = bottoms(1, (2, 3))
    layer.run_forward(smaller, top)
    np.testing.assert_allclose(top[0].data, expected_regions(smaller)[0], rtol=1e-4, atol=1e-3)


def test_backward_gives_zeros_where_asked() -> None:
    bottom = bottoms()
    layer = layer_with()
    top = run(layer, bottom)
    for blob in bottom:
        untouched(blob)
    layer.run_backward(top, [True, False, False], bottom)
    assert not bottom[0].diff.any()
    assert_untouched(bottom[1])
    assert_untouched(bottom[2])


def test_a_steady_state_allocates_nothing_the_size_of_the_scores() -> None:
    bottom = bottoms(1, (100, 150))
    assert_nothing_is_allocated(layer_with("pre_nms_topn: 100 post_nms_topn: 20"), bottom)


def test_the_layer_stands_in_a_net() -> None:
    net = native_net(
        'layer { name: "in" type: "Input" top: "s" top: "c" top: "i" input_param { '
        "shape { dim: 1 dim: 2 dim: 3 dim: 3 } shape { dim: 1 dim: 4 dim: 3 dim: 3 } shape { dim: 1 dim: 3 } } } "
        'layer { name: "p" type: "Proposal" bottom: "s" bottom: "c" bottom: "i" top: "rois" '
        "proposal_param { ratio: 1 scale: 1 min_size: 1 } } "
        'layer { name: "copy" type: "TanH" bottom: "rois" top: "copy" }'
    )
    net.blobs["i"].data[...] = [48, 48, 1]
    net.forward()
    assert net.blobs["copy"].shape == net.blobs["rois"].shape == (9, 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"ratio is \[\] and scale is \[\]"),
        ("ratio: 1", r"ratio is \[1.0\] and scale is \[\]"),
        ("ratio: 1 scale: 0", "scale is"),
        ("ratio: 1 scale: 1 feat_stride: 0", "feat_stride is 0"),
        ("ratio: 1 scale: 1 base_size: 0", "base_size is 0"),
        ("ratio: 1 scale: 1 pre_nms_topn: 0", "pre_nms_topn is 0"),
        ("ratio: 1 scale: 1 post_nms_topn: 0", "post_nms_topn is 0"),
        ("ratio: 1 scale: 1 nms_thresh: -0.5", "nms_thresh is -0.5"),
    ],
)
def test_parameters_that_cannot_be_are_refused(text: str, message: str) -> None:
    with pytest.raises(NetError, match=rf"layer 'l' \(Proposal\): .*{message}"):
        run(layer_of(f'type: "Proposal" proposal_param {{ {text} }}'), bottoms(1))


@pytest.mark.parametrize(
    ("index", "shape", "message"),
    [
        (0, (1, NUM_ANCHORS, 7, 10), r"scores have shape \(1, 6, 7, 10\), expected \(1, 12, 7, 10\) for 6 anchors"),
        (1, (1, 4 * NUM_ANCHORS, 7, 9), "codes have shape"),
        (1, (2, 4 * NUM_ANCHORS, 7, 10), "codes have shape"),
        (0, (1, 2 * NUM_ANCHORS, 70), "scores have shape"),
        (2, (1, 2), r"sizes of images have shape \(1, 2\)"),
        (2, (3, 3), "sizes of images have shape"),
        (2, (3,), "sizes of images have shape"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(index: int, shape: tuple[int, ...], message: str) -> None:
    bottom = bottoms()
    bottom[index] = random_blob(*shape)
    with pytest.raises(NetError, match=message):
        run(layer_with(), bottom)
