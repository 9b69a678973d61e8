import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlayer.engine.net import Net
from farlayer.protos.errors import BlobError, NetError
from tests.engine.support import (
    assert_nothing_is_allocated,
    assert_untouched,
    layer_of,
    native_net,
    random_blob,
    run,
    untouched,
)


def priors(text: str, cells: tuple[int, int] = (2, 3), image: tuple[int, int] = (60, 90)) -> np.ndarray:
    """The top of a PriorBox layer, as (2, H, W, K, 4)."""
    bottom = [random_blob(2, 5, *cells), random_blob(2, 3, *image)]
    (top,) = run(layer_of(f'type: "PriorBox" prior_box_param {{ {text} }}'), bottom)
    assert top.shape[:2] == (1, 2)
    assert len(top.shape) == 3
    return top.data.reshape(2, *cells, -1, 4)


def expected_priors(
    cells: tuple[int, int],
    image: tuple[float, float],
    sizes: list[tuple[float, float]],
    *,
    offset: float = 0.5,
    step: tuple[float, float] | None = None,
) -> np.ndarray:
    """From the definition: sizes are width and height in pixels, image and step height and width."""
    step = step or (image[0] / cells[0], image[1] / cells[1])
    boxes = []
    for h in range(cells[0]):
        for w in range(cells[1]):
            x, y = (w + offset) * step[1], (h + offset) * step[0]
            for width, height in sizes:
                boxes += [
                    (x - width / 2) / image[1],
                    (y - height / 2) / image[0],
                    (x + width / 2) / image[1],
                    (y + height / 2) / image[0],
                ]
    return np.array(boxes).reshape(*cells, len(sizes), 4)


def test_a_min_size_gives_a_square_around_each_center() -> None:
    boxes = priors("min_size: 12")[0]
    # Cells of 30 x 30 pixels; the first center is (15, 15).
    np.testing.assert_allclose(boxes[0, 0, 0], [9 / 90, 9 / 60, 21 / 90, 21 / 60], rtol=1e-6)
    np.testing.assert_allclose(boxes, expected_priors((2, 3), (60, 90), [(12, 12)]), rtol=1e-6)


def test_a_max_size_gives_a_square_of_the_geometric_mean() -> None:
    boxes = priors("min_size: 9 max_size: 16")[0]
    np.testing.assert_allclose(boxes, expected_priors((2, 3), (60, 90), [(9, 9), (12, 12)]), rtol=1e-6)


def test_aspect_ratios_keep_the_area_of_min_size_and_are_flipped() -> None:
    boxes = priors("min_size: 10 max_size: 20 aspect_ratio: 4 aspect_ratio: 1 aspect_ratio: 0.25")[0]
    mean = math.sqrt(200)
    sizes = [(10, 10), (mean, mean), (20, 5), (5, 20)]
    np.testing.assert_allclose(boxes, expected_priors((2, 3), (60, 90), sizes), rtol=1e-6)


def test_without_flip_each_ratio_counts_once() -> None:
    boxes = priors("min_size: 10 aspect_ratio: 4 aspect_ratio: 4 flip: false")[0]
    np.testing.assert_allclose(boxes, expected_priors((2, 3), (60, 90), [(10, 10), (20, 5)]), rtol=1e-6)


def test_several_sizes_follow_one_another() -> None:
    boxes = priors("min_size: 4 min_size: 16 max_size: 9 max_size: 25 aspect_ratio: 4 flip: false")[0]
    sizes = [(4, 4), (6, 6), (8, 2), (16, 16), (20, 20), (32, 8)]
    np.testing.assert_allclose(boxes, expected_priors((2, 3), (60, 90), sizes), rtol=1e-6)


def test_sizes_are_cut_to_whole_pixels() -> None:
    np.testing.assert_array_equal(
        priors("min_size: 9.9 max_size: 16.7 aspect_ratio: 4"), priors("min_size: 9 max_size: 16 aspect_ratio: 4")
    )


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("img_size: 50", {"image": (50, 50)}),
        ("img_h: 50 img_w: 70", {"image": (50, 70)}),
        ("step: 8", {"step": (8, 8)}),
        ("step_h: 7.5 step_w: 9.25", {"step": (7.5, 9.25)}),
        ("offset: 0.25", {"offset": 0.25}),
        ("offset: 0 step: 16 img_size: 300", {"offset": 0, "step": (16, 16), "image": (300, 300)}),
    ],
)
def test_image_step_and_offset_may_be_given(text: str, options: dict[str, object]) -> None:
    arguments = {"image": (60, 90)} | options
    expected = expected_priors((2, 3), sizes=[(12, 12)], **arguments)  # type: ignore[arg-type]  # as parametrized
    np.testing.assert_allclose(priors(f"min_size: 12 {text}")[0], expected, rtol=1e-5, atol=1e-7)


def test_clip_keeps_boxes_in_the_image() -> None:
    whole = priors("min_size: 50")[0]
    assert whole.min() < 0
    assert whole.max() > 1
    np.testing.assert_array_equal(priors("min_size: 50 clip: true")[0], np.clip(whole, 0, 1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [0.1] * 4),
        ("variance: 0.3", [0.3] * 4),
        ("variance: 0.1 variance: 0.2 variance: 0.3 variance: 0.4", [0.1, 0.2, 0.3, 0.4]),
    ],
)
def test_variances_follow_the_boxes(text: str, expected: list[float]) -> None:
    variances = priors(f"min_size: 12 aspect_ratio: 2 {text}")[1]
    np.testing.assert_array_equal(variances, np.broadcast_to(np.array(expected, np.float32), variances.shape))


@settings(max_examples=25, deadline=None)
@given(
    cells=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    image=st.tuples(st.integers(20, 400), st.integers(20, 400)),
    size=st.integers(1, 100),
)
def test_any_map_and_image_will_do(cells: tuple[int, int], image: tuple[int, int], size: int) -> None:
    expected = expected_priors(cells, image, [(size, size), (size * math.sqrt(3), size / math.sqrt(3))])
    actual = priors(f"min_size: {size} aspect_ratio: 3 flip: false", cells, image)[0]
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_the_priors_of_ssd_300_are_8732() -> None:
    sizes = [(30, 60, [2], 38), (60, 111, [2, 3], 19), (111, 162, [2, 3], 10)]
    sizes += [(162, 213, [2, 3], 5), (213, 264, [2], 3), (264, 315, [2], 1)]
    count = 0
    for low, high, ratios, cells in sizes:
        text = f"min_size: {low} max_size: {high} " + " ".join(f"aspect_ratio: {ratio}" for ratio in ratios)
        count += priors(text, (cells, cells), (300, 300))[0].size // 4
    assert count == 8732


def test_the_batch_does_not_matter_not_even_an_empty_one() -> None:
    (top,) = run(
        layer_of('type: "PriorBox" prior_box_param { min_size: 12 }'),
        [random_blob(0, 5, 2, 3), random_blob(0, 3, 60, 90)],
    )
    np.testing.assert_array_equal(top.data.reshape(2, 2, 3, 1, 4), priors("min_size: 12"))


def test_another_size_gives_other_priors() -> None:
    bottom = [random_blob(1, 1, 2, 2), random_blob(1, 3, 40, 40)]
    layer = layer_of('type: "PriorBox" prior_box_param { min_size: 12 }')
    top = run(layer, bottom)
    bottom[0].reshape(1, 1, 3, 1)
    layer.run_forward(bottom, top)
    np.testing.assert_allclose(
        top[0].data.reshape(2, 3, 1, 1, 4)[0], expected_priors((3, 1), (40, 40), [(12, 12)]), rtol=1e-5
    )


def test_backward_gives_zeros_where_asked() -> None:
    bottom = [random_blob(1, 1, 2, 2), random_blob(1, 3, 40, 40)]
    layer = layer_of('type: "PriorBox" prior_box_param { min_size: 12 }')
    top = run(layer, bottom)
    for blob in bottom:
        untouched(blob)
    layer.run_backward(top, [True, False], bottom)
    assert not bottom[0].diff.any()
    assert_untouched(bottom[1])


def test_a_steady_state_allocates_nothing() -> None:
    text = 'type: "PriorBox" prior_box_param { min_size: 30 max_size: 60 aspect_ratio: 2 clip: true }'
    assert_nothing_is_allocated(layer_of(text), [random_blob(1, 16, 38, 38), random_blob(1, 3, 300, 300)])


def test_the_layer_stands_in_a_net() -> None:
    net: Net = native_net(
        'layer { name: "in" type: "Input" top: "map" top: "image" '
        "input_param { shape { dim: 1 dim: 1 dim: 2 dim: 2 } shape { dim: 1 dim: 3 dim: 8 dim: 8 } } } "
        'layer { name: "p" type: "PriorBox" bottom: "map" bottom: "image" top: "p" prior_box_param { min_size: 4 } }'
    )
    net.forward()
    assert net.blobs["p"].shape == (1, 2, 16)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "min_size is missing"),
        ("min_size: 0", "min_size is 0"),
        ("min_size: -3", "min_size is -3"),
        ("min_size: 4 max_size: 4", "max_size 4.0 is not larger than min_size 4.0"),
        ("min_size: 4 min_size: 5 max_size: 9", "1 max_size for 2 min_size"),
        ("min_size: 4 aspect_ratio: 0", "aspect_ratio is 0"),
        ("min_size: 4 variance: 0.1 variance: 0.1", "2 values of variance"),
        ("min_size: 4 variance: 0", r"variance is \[0.0\]"),
        ("min_size: 4 variance: .1 variance: .1 variance: -.1 variance: .1", "variance is"),
        ("min_size: 4 img_size: 0", "img_size is 0"),
        ("min_size: 4 img_h: 10", r"img_h is 10\n.*both img_h and img_w"),
        ("min_size: 4 img_h: 10 img_w: 0", "img_w is 0"),
        ("min_size: 4 img_size: 10 img_w: 10", "both img_size and img_h/img_w are given"),
        ("min_size: 4 step: 0", "step is 0"),
        ("min_size: 4 step: -1", "step is -1"),
        ("min_size: 4 step_w: 3", "step_w is 3\n"),
        ("min_size: 4 step: 3 step_h: 3 step_w: 3", "both step and step_h/step_w are given"),
    ],
)
def test_parameters_that_cannot_be_are_refused(text: str, message: str) -> None:
    with pytest.raises(NetError, match=rf"layer 'l' \(PriorBox\): .*{message}"):
        priors(text)


@pytest.mark.parametrize(
    ("cells", "image", "message"),
    [((0, 3), (60, 90), "has no cells"), ((2, 3), (0, 90), "it has no size")],
)
def test_maps_and_images_without_a_size_are_refused(
    cells: tuple[int, int], image: tuple[int, int], message: str
) -> None:
    with pytest.raises(NetError, match=message):
        priors("min_size: 4", cells, image)


def test_a_map_of_five_axes_is_refused() -> None:
    with pytest.raises(BlobError, match="at most 4 axes"):
        run(layer_of('type: "PriorBox" prior_box_param { min_size: 4 }'), [random_blob(1, 1, 1, 1, 1), random_blob(1)])
