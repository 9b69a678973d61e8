import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.engine.layers.vision import interp
from farlayer.protos.errors import NetError
from tests.engine.support import (
    assert_nothing_is_allocated,
    assert_untouched,
    blob_of,
    layer_of,
    random_blob,
    run,
    untouched,
)

FORMS = {
    "zoom_factor: 3": (10, 13),
    "shrink_factor: 2": (2, 3),
    "shrink_factor: 3 zoom_factor: 2": (3, 3),
    "height: 7 width: 2": (7, 2),
    "height: 4 width: 5": (4, 5),
    "height: 1 width: 1": (1, 1),
    "zoom_factor: 2 pad_beg: -1 pad_end: -1": (3, 5),
    "height: 3 width: 4 pad_beg: -1": (3, 4),
}


def text(options: str) -> str:
    return f'type: "Interp" interp_param {{ {options} }}'


def interpolated(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The corners-on-corners bilinear image, place by place."""
    rows = (image.shape[0] - 1) / (height - 1) if height > 1 else 0
    columns = (image.shape[1] - 1) / (width - 1) if width > 1 else 0
    out = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            y, x = i * rows, j * columns
            for h in range(image.shape[0]):
                for w in range(image.shape[1]):
                    out[i, j] += image[h, w] * max(0, 1 - abs(y - h)) * max(0, 1 - abs(x - w))
    return out


@pytest.mark.parametrize("form", FORMS)
def test_forward_interpolates_place_by_place(form: str) -> None:
    bottom = random_blob(2, 2, 4, 5)
    (top,) = run(layer_of(text(form)), [bottom])
    assert top.shape == (2, 2, *FORMS[form])
    end = 1 if "pad_end" in form else 0
    begin = 1 if "pad_beg" in form else 0
    for image, result in zip(bottom.data.reshape(4, 4, 5), top.data.reshape(4, *FORMS[form]), strict=True):
        cropped = image[begin : 4 - end, begin : 5 - end]
        np.testing.assert_allclose(result, interpolated(cropped, *FORMS[form]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_the_gradient_is_right(form: str) -> None:
    assert GradientChecker().check(layer_of(text(form)), [random_blob(2, 1, 4, 5)], [Blob()])


def test_a_second_bottom_gives_the_size_and_gets_no_gradient() -> None:
    bottom = [random_blob(1, 2, 4, 5), Blob((3, 1, 6, 7))]
    layer = layer_of('type: "Interp"')
    (top,) = run(layer, bottom)
    assert top.shape == (1, 2, 6, 7)
    np.testing.assert_array_equal(top.data, run(layer_of(text("height: 6 width: 7")), bottom[:1])[0].data)
    untouched(bottom[1])
    layer.run_backward([top], [True, True], bottom)
    assert_untouched(bottom[1])
    assert [layer.allow_force_backward(index) for index in (0, 1)] == [True, False]


def test_the_same_size_copies_whatever_the_values() -> None:
    bottom = blob_of([[[[1, np.nan], [np.inf, 2]]]])
    (top,) = run(layer_of(text("zoom_factor: 1")), [bottom])
    np.testing.assert_array_equal(top.data, bottom.data)


def test_the_size_follows_the_bottom() -> None:
    layer = layer_of(text("zoom_factor: 2"))
    bottom = random_blob(1, 1, 3, 3)
    top = run(layer, [bottom])
    bottom.reshape(2, 1, 2, 4)
    layer.run_forward([bottom], top)
    assert top[0].shape == (2, 1, 3, 7)


def test_images_in_parts_give_the_same_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bottom = random_blob(2, 3, 4, 5)
    results = []
    for bound in (1, 150, 1 << 18):
        monkeypatch.setattr(interp, "_PART_VALUES", bound)
        layer = layer_of(text("zoom_factor: 2"))
        (top,) = run(layer, [bottom])
        top.diff[...] = random_blob(*top.shape, seed=3).data
        layer.run_backward([top], [True], [bottom])
        results.append((top.data.copy(), bottom.diff.copy()))
    for other in results[1:]:
        np.testing.assert_array_equal(other[0], results[0][0])
        np.testing.assert_array_equal(other[1], results[0][1])


def test_a_batch_without_samples_passes() -> None:
    bottom = Blob((0, 2, 4, 4))
    layer = layer_of(text("zoom_factor: 2"))
    top = run(layer, [bottom])
    layer.run_backward(top, [True], [bottom])
    assert top[0].shape == (0, 2, 7, 7)


def test_without_propagate_down_the_diff_stays() -> None:
    bottom = random_blob(1, 1, 4, 4)
    layer = layer_of(text("zoom_factor: 2"))
    top = run(layer, [bottom])
    untouched(bottom)
    layer.run_backward(top, [False], [bottom])
    assert_untouched(bottom)


def test_nothing_is_allocated_in_a_steady_state() -> None:
    assert_nothing_is_allocated(layer_of(text("zoom_factor: 4")), [random_blob(4, 16, 32, 32)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "exactly one way"),
        ("height: 3", "exactly one way"),
        ("height: 3 zoom_factor: 2", "exactly one way"),
        ("height: 3 width: 3 shrink_factor: 2", "exactly one way"),
        ("zoom_factor: 0", "zoom_factor is 0"),
        ("shrink_factor: -1", "shrink_factor -1, expected 1 or more"),
        ("zoom_factor: 2 pad_beg: 1", "pad_beg is 1 and pad_end 0, expected 0 or less"),
        ("zoom_factor: 2 pad_end: 2", "pad_end 2"),
        ("height: 0 width: 3", r"then \(0, 3\); expected 1 or more"),
        ("zoom_factor: 2 pad_beg: -4", r"images of \(4, 5\) become \(0, 1\) by pad_beg -4"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(options: str, message: str) -> None:
    with pytest.raises(NetError, match=message) as caught:
        run(layer_of(text(options)), [random_blob(1, 1, 4, 5)])
    assert caught.value.layer == "l"


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        ([(1, 4, 5)], "zoom_factor: 2", r"shapes \[\(1, 4, 5\)\], expected 4 axes"),
        ([(1, 1, 4, 5), (4, 5)], "", r"\(4, 5\)\], expected 4 axes"),
        ([(1, 1, 4, 5), (1, 1, 4, 5)], "zoom_factor: 2", "exactly one way"),
        ([(1, 1, 4, 5)] * 3, "", "takes 1 to 2 bottom"),
        ([(1, 1, 0, 5)], "zoom_factor: 2", "expected 1 or more along each axis"),
    ],
)
def test_bottoms_that_do_not_fit_are_refused(shapes: list[tuple[int, ...]], options: str, message: str) -> None:
    with pytest.raises(NetError, match=message):
        run(layer_of(text(options)), [Blob(shape) for shape in shapes])
