import re
import sys
from pathlib import Path

import numpy as np
import pytest

from farlayer.engine.data.bilinear import resize_bilinear
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError
from tests.engine.data.support import forward, image, running, write_png
from tests.engine.support import layer_of

COUNT = 7


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven images, one of them with a blank in its name, and a list of them with labels from 10."""
    names = [f"i{index}.png" for index in range(COUNT - 1)] + ["the last.png"]
    for index, name in enumerate(names):
        write_png(tmp_path / "images" / name, image(6, 8, seed=index))
    (tmp_path / "list.txt").write_text("".join(f"{name} {10 + index}\n" for index, name in enumerate(names)))
    return tmp_path


def image_data(folder: Path, more: str = "", transform: str = "", prefetch: int = 2) -> str:
    return (
        f'type: "ImageData" data_param {{ prefetch: {prefetch} }} transform_param {{ {transform} }} '
        f'image_data_param {{ source: "{folder}/list.txt" root_folder: "{folder}/images/" {more} }}'
    )


def labels(text: str, count: int, **options: int) -> list[list[float]]:
    with running(text, **options) as (layer, top):
        return [forward(layer, top)[1].data.tolist() for _ in range(count)]


def planes(index: int) -> np.ndarray:
    return image(6, 8, seed=index).transpose(2, 0, 1)


@pytest.mark.parametrize("prefetch", [0, 3])
def test_batches_follow_the_list_and_begin_anew_at_its_end(folder: Path, prefetch: int) -> None:
    with running(image_data(folder, "batch_size: 3", prefetch=prefetch)) as (layer, top):
        assert [blob.shape for blob in top] == [(3, 3, 6, 8), (3,)]
        for first in (0, 3, 6, 2, 5):
            forward(layer, top)
            numbers = [(first + offset) % COUNT for offset in range(3)]
            np.testing.assert_array_equal(top[0].data, [planes(number) for number in numbers])
            np.testing.assert_array_equal(top[1].data, [10 + number for number in numbers])


def test_images_are_resized(folder: Path) -> None:
    with running(image_data(folder, "new_height: 4 new_width: 5")) as (layer, top):
        forward(layer, top)
    np.testing.assert_array_equal(top[0].data[0], resize_bilinear(image(6, 8), 4, 5).transpose(2, 0, 1))


def test_without_colour_there_is_one_channel(folder: Path) -> None:
    with running(image_data(folder, "is_color: false")) as (layer, top):
        forward(layer, top)
    assert top[0].shape == (1, 1, 6, 8)
    brightness = np.tensordot(image(6, 8), [0.114, 0.587, 0.299], axes=1)
    assert np.abs(top[0].data[0, 0] - brightness).max() <= 1


def test_the_transformation_of_the_net_is_applied(folder: Path) -> None:
    text = image_data(folder, transform="crop_size: 4 scale: 0.5 mean_value: 3")
    with running(text, phase=caffe_pb2.TEST) as (layer, top):
        forward(layer, top)
    np.testing.assert_array_equal(top[0].data[0], (planes(0)[:, 1:5, 2:6] - np.float32(3)) * np.float32(0.5))


def test_fields_at_their_older_place_count(folder: Path) -> None:
    with running(image_data(folder, "crop_size: 4 scale: 0.5"), phase=caffe_pb2.TEST) as (layer, top):
        forward(layer, top)
    np.testing.assert_array_equal(top[0].data[0], planes(0)[:, 1:5, 2:6] * np.float32(0.5))


def test_shuffling_gives_every_image_once_a_round_in_an_order_that_the_seed_decides(folder: Path) -> None:
    text = image_data(folder, f"batch_size: {COUNT} shuffle: true")
    first, second, third = labels(text, 3, seed=3)
    assert sorted(first) == sorted(second) == sorted(third) == [10 + index for index in range(COUNT)]
    assert len({tuple(first), tuple(second), tuple(third)}) > 1
    assert labels(text, 3, seed=3) == [first, second, third]
    assert labels(text, 3, seed=4) != [first, second, third]


def test_rand_skip_begins_somewhere_below_it(folder: Path) -> None:
    text = image_data(folder, "rand_skip: 3")
    firsts = {labels(text, 1, seed=seed)[0][0] for seed in range(20)}
    assert firsts == {10, 11, 12}


def test_rand_skip_beyond_the_list_is_refused(folder: Path) -> None:
    with pytest.raises(NetError, match=r"rand_skip is 1000, but '.*' has 7 images"):
        labels(image_data(folder, "rand_skip: 1000"), 0)


def test_each_batch_has_the_shape_of_its_first_image(folder: Path) -> None:
    write_png(folder / "images" / "i1.png", image(3, 4))
    with running(image_data(folder)) as (layer, top):
        assert [forward(layer, top)[0].shape[2:] for _ in range(3)] == [(6, 8), (3, 4), (6, 8)]


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_image_of_another_size_is_named_with_its_line(folder: Path, prefetch: int) -> None:
    write_png(folder / "images" / "the last.png", image(3, 4))
    with running(image_data(folder, "batch_size: 7", prefetch=prefetch)) as (layer, top):
        message = r"image 'the last\.png' \(line 7 of '.*/list\.txt'\) becomes 3 x 3 x 4 .*, but .* 3 x 6 x 8"
        with pytest.raises(NetError, match=rf"^layer 'l' \(ImageData\): {message}") as error:
            forward(layer, top)
    assert "new_height and new_width" in error.value.remedy


@pytest.mark.parametrize("index", [0, 3])
def test_missing_and_damaged_files_are_named_with_their_line(folder: Path, index: int) -> None:
    name = (
        rf"^layer 'l' \(ImageData\): image 'i{index}\.png' \(line {index + 1} of '{re.escape(str(folder))}/list\.txt'\)"
    )
    path = folder / "images" / f"i{index}.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(NetError, match=rf"{name} is no image .* \(60 bytes\)"):
        labels(image_data(folder), 4)
    path.unlink()
    with pytest.raises(NetError, match=rf"{name}: cannot read '.*i{index}\.png': No such file"):
        labels(image_data(folder), 4)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("batch_size: 0", r"image_data_param\.batch_size is 0"),
        ("new_height: 3", "new_height is 3 and new_width 0"),
        ("new_width: 3", "new_height is 0 and new_width 3"),
        ('source: "/nowhere/list"', "cannot read '/nowhere/list'"),
        ("crop_size: 9", "smaller than the crop of 9 x 9"),
    ],
)
def test_bad_parameters_are_refused(folder: Path, more: str, message: str) -> None:
    text = f'type: "ImageData" image_data_param {{ source: "{folder}/list.txt" root_folder: "{folder}/images/" }}'
    param = layer_of(text).param
    extra = layer_of(f'type: "ImageData" image_data_param {{ {more} }}').param
    param.MergeFrom(extra)
    with pytest.raises(NetError, match=rf"^layer 'l' \(ImageData\): .*{message}"):
        labels(str(param), 0)


def test_a_list_is_needed() -> None:
    with pytest.raises(NetError, match=r"^layer 'l' \(ImageData\): image_data_param.source is missing"):
        labels('type: "ImageData"', 0)


def test_empty_lists_and_lines_without_a_label_are_refused(folder: Path) -> None:
    (folder / "list.txt").write_text("i0.png 1\ni1.png\n")
    with pytest.raises(NetError, match=r"line 2 of '.*list\.txt' is 'i1\.png', expected a path and a label"):
        labels(image_data(folder), 0)
    (folder / "list.txt").write_text("")
    with pytest.raises(NetError, match=r"the list of images '.*list\.txt' is empty"):
        labels(image_data(folder), 0)


def test_two_tops_are_needed(folder: Path) -> None:
    with pytest.raises(NetError, match=r"takes exactly 2 top blob\(s\), got 1"), running(image_data(folder), num_top=1):
        pytest.fail("not reached")


def test_without_a_library_the_extras_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("cv2", "PIL.Image"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(NetError, match=r"^layer 'l' \(ImageData\): reading images needs OpenCV or Pillow") as error:
        labels(image_data(folder), 0)
    assert "farlayer[image]" in error.value.remedy
