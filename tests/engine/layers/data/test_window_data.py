import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from farlayer.engine.data.bilinear import resize_bilinear
from farlayer.protos.errors import NetError
from tests.engine.data.support import image, running, write_mean, write_png

HEIGHT, WIDTH, CROP = 30, 40, 12
FOREGROUND = {1: (4, 5, 13, 24), 2: (0, 0, 39, 29), 3: (30, 20, 39, 29)}  # by label
BACKGROUND = (2, 3, 9, 6)
MEAN = np.random.default_rng(3).random((3, 20, 18), np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One image, with a window of each of three classes, one of background and one that is neither."""
    write_png(tmp_path / "images" / "a.png", image(HEIGHT, WIDTH))
    lines = [f"{label} 0.8 {x1} {y1} {x2} {y2}" for label, (x1, y1, x2, y2) in FOREGROUND.items()]
    lines += ["5 0.1 {} {} {} {}".format(*BACKGROUND), "6 0.4 0 0 1 1"]
    header = ["# 0", "a.png", "3", str(HEIGHT), str(WIDTH), str(len(lines))]
    (tmp_path / "windows.txt").write_text("\n".join([*header, *lines]) + "\n")
    write_mean(tmp_path / "mean", MEAN)
    return tmp_path


def window_data(
    folder: Path,
    more: str = "batch_size: 8",
    transform: str = "",
    *,
    prefetch: int = 2,
    crop_size: int = CROP,
    source: str = "",
) -> str:
    return (
        f'type: "WindowData" data_param {{ prefetch: {prefetch} }} '
        f"transform_param {{ crop_size: {crop_size} {transform} }} "
        f'window_data_param {{ source: "{source or folder / "windows.txt"}" root_folder: "{folder}/images/" '
        f"bg_threshold: 0.3 {more} }}"
    )


def batches(text: str, count: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The data and labels of some batches, one after the other."""
    data, labels = [], []
    with running(text, seed=seed) as (layer, top):
        for _ in range(count):
            layer.run_forward([], top)
            data.append(top[0].data.copy())
            labels.append(top[1].data.copy())
    return np.concatenate(data), np.concatenate(labels)


def rounded(value: float) -> int:
    return math.floor(value + 0.5) if value >= 0 else math.ceil(value - 0.5)


def drawn(label: int, context_pad: int, square: bool, mirrored: bool, mean: np.ndarray | None) -> np.ndarray:
    """A window as the original draws it, step by step."""
    x1, y1, x2, y2 = FOREGROUND[label] if label else BACKGROUND
    height = width = CROP
    pad_top = pad_side = 0
    if context_pad or square:
        scale = CROP / (CROP - 2 * context_pad)
        half = [(y2 - y1 + 1) / 2, (x2 - x1 + 1) / 2]
        middle = [y1 + half[0], x1 + half[1]]
        if square:
            half = [max(half)] * 2
        x1, x2 = rounded(middle[1] - half[1] * scale), rounded(middle[1] + half[1] * scale)
        y1, y2 = rounded(middle[0] - half[0] * scale), rounded(middle[0] + half[0] * scale)
        scale_y, scale_x = CROP / (y2 - y1 + 1), CROP / (x2 - x1 + 1)
        pad_top = rounded(max(0, -y1) * scale_y)
        pad_side = rounded((max(0, x2 - WIDTH + 1) if mirrored else max(0, -x1)) * scale_x)
        x1, x2, y1, y2 = max(x1, 0), min(x2, WIDTH - 1), max(y1, 0), min(y2, HEIGHT - 1)
        height = min(rounded((y2 - y1 + 1) * scale_y), CROP - pad_top)
        width = min(rounded((x2 - x1 + 1) * scale_x), CROP - pad_side)
    part = resize_bilinear(image(HEIGHT, WIDTH)[y1 : y2 + 1, x1 : x2 + 1], height, width)
    if mirrored:
        part = part[:, ::-1]
    margin = (MEAN.shape[2] - CROP) // 2
    out = np.zeros((3, CROP, CROP), np.float32)
    for channel, row, column in np.ndindex(3, height, width):
        value = np.float32(part[row, column, channel])
        if mean is not None:
            value -= mean[channel, margin + pad_top + row, margin + pad_side + column]
        out[channel, pad_top + row, pad_side + column] = value
    return out


@pytest.mark.parametrize("context_pad", [0, 2])
@pytest.mark.parametrize("crop_mode", ["warp", "square"])
@pytest.mark.parametrize("has_mean", [False, True])
def test_windows_are_drawn_as_the_original_draws_them(
    folder: Path, context_pad: int, crop_mode: str, has_mean: bool
) -> None:
    transform = f'mean_file: "{folder}/mean"' if has_mean else ""
    more = f'batch_size: 8 context_pad: {context_pad} crop_mode: "{crop_mode}"'
    data, labels = batches(window_data(folder, more, transform), 3)
    assert set(labels) == {0, 1, 2, 3}
    for picture, label in zip(data, labels, strict=True):
        expected = drawn(int(label), context_pad, crop_mode == "square", False, MEAN if has_mean else None)
        np.testing.assert_array_equal(picture, expected)


def test_half_of_them_are_mirrored_with_what_is_missing_beside_them(folder: Path) -> None:
    more = 'batch_size: 8 context_pad: 2 crop_mode: "square"'
    data, labels = batches(window_data(folder, more, "mirror: true"), 50)
    mirrored = 0
    for picture, label in zip(data, labels, strict=True):
        plain, turned = (drawn(int(label), 2, True, flag, None) for flag in (False, True))
        assert (picture == plain).all() or (picture == turned).all()
        mirrored += bool((picture == turned).all())
    assert 150 < mirrored < 250


@pytest.mark.parametrize(
    ("batch_size", "fg_fraction", "num_foreground"), [(8, 0.25, 2), (7, 0.5, 3), (5, 0.0, 0), (4, 1.0, 4)]
)
def test_background_comes_first_and_then_its_share_of_foreground(
    folder: Path, batch_size: int, fg_fraction: float, num_foreground: int
) -> None:
    _, labels = batches(window_data(folder, f"batch_size: {batch_size} fg_fraction: {fg_fraction}"), 1)
    assert (labels[: batch_size - num_foreground] == 0).all()
    assert (labels[batch_size - num_foreground :] > 0).all()


def test_scale_and_mean_values_count_inside_the_image_alone(folder: Path) -> None:
    more = 'batch_size: 8 context_pad: 2 crop_mode: "square"'
    data, labels = batches(window_data(folder, more, "scale: 0.5 mean_value: 1 mean_value: 2 mean_value: 3"), 2)
    inside = {label: drawn(label, 2, True, False, np.full(MEAN.shape, -1000, np.float32)) > 0 for label in range(4)}
    for picture, label in zip(data, labels, strict=True):
        plain = drawn(int(label), 2, True, False, None)
        expected = (plain - np.float32([[[1]], [[2]], [[3]]])) / 2 * inside[int(label)]
        np.testing.assert_array_equal(picture, expected)


def test_fields_at_their_older_place_count(folder: Path) -> None:
    text = window_data(folder, f"batch_size: 2 crop_size: {CROP} scale: 0.5").replace(f"crop_size: {CROP}", "", 1)
    data, labels = batches(text, 1)
    np.testing.assert_array_equal(data[0], drawn(int(labels[0]), 0, False, False, None) / 2)


@pytest.mark.parametrize("prefetch", [0, 3])
def test_the_seed_decides_and_a_cache_changes_nothing(folder: Path, prefetch: int) -> None:
    text = window_data(folder, transform="mirror: true")
    first = batches(text, 3, seed=5)
    again = batches(
        window_data(folder, "batch_size: 8 cache_images: true", "mirror: true", prefetch=prefetch), 3, seed=5
    )
    other = batches(text, 3, seed=6)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[0] != other[0]).any()


def test_a_cache_reads_each_file_once(folder: Path) -> None:
    with running(window_data(folder, "batch_size: 2 cache_images: true", prefetch=0)) as (layer, top):
        layer.run_forward([], top)
        (folder / "images" / "a.png").unlink()
        layer.run_forward([], top)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_image_that_is_missing_or_too_small_is_named(folder: Path, prefetch: int) -> None:
    path = folder / "images" / "a.png"
    for change, message in (
        (
            lambda: write_png(path, image(3, 3)),
            r"window \(.*\) of image '{}' does not lie in the image, which is 3 high",
        ),
        (lambda: path.write_bytes(b"no image"), "image '{}' is no image"),
        (path.unlink, "image '{}': cannot read '{}': No such file"),
    ):
        change()
        pattern = message.format(*[re.escape(str(path))] * 2)
        with pytest.raises(NetError, match=rf"^layer 'l' \(WindowData\): {pattern}"):
            batches(window_data(folder, prefetch=prefetch), 1)


@pytest.mark.parametrize(
    ("more", "transform", "message"),
    [
        ("", "", "window_data_param.batch_size is 0"),
        ('batch_size: 2 crop_mode: "round"', "", "crop_mode is 'round', expected warp or square"),
        ("batch_size: 2 context_pad: 6", "", "context_pad is 6, expected less than half of crop_size, 12"),
        ("batch_size: 2 fg_fraction: 1.5", "", "fg_fraction is 1.5"),
        ("batch_size: 2 fg_threshold: 0.9", "", "has no foreground window"),
        ("batch_size: 2", "mean_value: 1 mean_value: 2", "mean_value is given 2 times"),
        ("batch_size: 2", 'mean_value: 1 mean_file: "x"', "both mean_file and mean_value"),
        ("batch_size: 2", 'mean_file: "{folder}/small"', r"has shape \(3, 11, 20\), expected at least \(3, 16, 12\)"),
        ("batch_size: 2", 'mean_file: "{folder}/gray"', r"has shape \(1, 20, 20\)"),
    ],
)
def test_bad_parameters_are_refused(folder: Path, more: str, transform: str, message: str) -> None:
    write_mean(folder / "small", np.zeros((3, 11, 20), np.float32))
    write_mean(folder / "gray", np.zeros((1, 20, 20), np.float32))
    with pytest.raises(NetError, match=rf"^layer 'l' \(WindowData\): .*{message}"):
        batches(window_data(folder, more, transform.format(folder=folder)), 0)


def test_a_crop_size_and_a_window_file_are_needed(folder: Path) -> None:
    with pytest.raises(NetError, match=r"^layer 'l' \(WindowData\): transform_param.crop_size is 0"):
        batches(window_data(folder, crop_size=0), 0)
    with pytest.raises(NetError, match=r"^layer 'l' \(WindowData\): cannot read the window file '/nowhere/w'"):
        batches(window_data(folder, source="/nowhere/w"), 0)
    with pytest.raises(NetError, match=r"^layer 'l' \(WindowData\): window_data_param.source is missing"):
        batches('type: "WindowData" window_data_param { batch_size: 1 crop_size: 3 }', 0)


def test_two_tops_are_needed(folder: Path) -> None:
    with (
        pytest.raises(NetError, match=r"takes exactly 2 top blob\(s\), got 1"),
        running(window_data(folder), num_top=1),
    ):
        pytest.fail("not reached")


def test_without_a_library_the_extras_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("cv2", "PIL.Image"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(NetError, match=r"^layer 'l' \(WindowData\): reading images needs OpenCV or Pillow") as error:
        batches(window_data(folder), 0)
    assert "farlayer[image]" in error.value.remedy
