import json
import logging
from pathlib import Path

import numpy as np
import pytest

from farlayer.engine.layers.detection.detection_files import DetectionFiles, open_detection_files, to_pixels
from farlayer.engine.prototxt import parse
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError, PrototxtError
from tests.engine.support import layer_of

LABELS = """
item { name: "background" label: 0 display_name: "none" }
item { name: "cat" label: 1 display_name: "Cat" }
item { name: "7" label: 2 display_name: "Dog" }
"""
SIZES = "001 100 200\n\n42 50 80\nthree 10 10\n"
LAYER = layer_of('type: "DetectionOutput"')


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "labels").write_text(LABELS)
    (tmp_path / "sizes").write_text(SIZES)
    return tmp_path


def param_of(text: str) -> caffe_pb2.SaveOutputParameter:
    return parse(text, caffe_pb2.SaveOutputParameter())


def opened(folder: Path, text: str = "", output_format: str = "VOC") -> DetectionFiles:
    files = open_detection_files(
        LAYER,
        param_of(
            f"output_directory: '{folder}/a/b' output_format: '{output_format}' label_map_file: '{folder}/labels' "
            f"name_size_file: '{folder}/sizes' output_name_prefix: 'det_' {text}"
        ),
        [1, 2],
    )
    assert files is not None
    return files


def add(files: DetectionFiles, *rows: tuple[int, float, float, float, float, float]) -> None:
    """Rows of label, score and box."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    files.add(table[:, 0], table[:, 1], table[:, 2:])


def add_three(files: DetectionFiles) -> None:
    add(files, (1, 0.9, 0.1, 0.2, 0.5, 0.6), (2, 0.123456789, -0.1, 0, 1.2, 0.555))
    add(files, (1, 0.5, 0.333, 0.5, 0.666, 1))
    add(files)


def test_voc_has_a_file_for_each_class(folder: Path) -> None:
    add_three(opened(folder))
    # Left + whole width: 26.64 + 26.64 gives 26 + 26.
    assert (folder / "a/b/det_cat.txt").read_text() == "001 0.9 20 20 100 60\n42 0.5 26 25 52 50\n"
    assert (folder / "a/b/det_7.txt").read_text() == "001 0.123457 0 0 200 55\n"
    assert not (folder / "a/b/det_background.txt").exists()


def test_ilsvrc_has_one_file_of_labels(folder: Path) -> None:
    add_three(opened(folder, output_format="ILSVRC"))
    assert (folder / "a/b/det_.txt").read_text().splitlines() == [
        "001 1 0.9 20 20 100 60",
        "001 2 0.123457 0 0 200 55",
        "42 1 0.5 26 25 52 50",
    ]


def test_coco_has_one_file_of_json(folder: Path) -> None:
    add_three(opened(folder, output_format="COCO"))
    assert json.loads((folder / "a/b/det_.json").read_text()) == [
        {"image_id": "001", "category_id": "cat", "bbox": [20, 20, 80, 40], "score": 0.9},
        {"image_id": "001", "category_id": 7, "bbox": [0, 0, 200, 55.5], "score": 0.12345679},
        {"image_id": 42, "category_id": "cat", "bbox": [26.64, 25, 26.64, 25], "score": 0.5},
    ]


def test_files_are_written_after_as_many_images_as_are_tested_and_then_anew(folder: Path) -> None:
    files = opened(folder, "num_test_image: 2")
    add(files, (1, 0.5, 0, 0, 1, 1))
    assert (folder / "a/b/det_cat.txt").read_text() == ""
    add(files)
    assert (folder / "a/b/det_cat.txt").read_text() == "001 0.5 0 0 200 100\n"
    add(files, (2, 0.25, 0, 0, 1, 1))
    assert (folder / "a/b/det_cat.txt").read_text() == ""
    add(files)
    assert (folder / "a/b/det_7.txt").read_text() == "001 0.25 0 0 200 100\n"


def test_other_files_of_the_directory_stay(folder: Path) -> None:
    (folder / "a/b").mkdir(parents=True)
    (folder / "a/b/mine.txt").write_text("mine")
    add_three(opened(folder))
    assert (folder / "a/b/mine.txt").read_text() == "mine"


def test_a_class_without_a_name_may_stay_without_detections(folder: Path) -> None:
    (folder / "labels").write_text('item { name: "cat" label: 1 }')
    files = opened(folder)
    add(files, (1, 0.5, 0, 0, 1, 1))
    with pytest.raises(NetError, match=r"layer 'l' \(DetectionOutput\): label 2 has no name in '.*labels'"):
        add(files, (2, 0.5, 0, 0, 1, 1))


@pytest.mark.parametrize("text", ["", "label_map_file: 'x' name_size_file: 'y'"])
def test_without_a_directory_nothing_is_written_or_read(text: str) -> None:
    assert open_detection_files(LAYER, param_of(text), [1]) is None


@pytest.mark.parametrize("text", ["", "label_map_file: 'x'", "name_size_file: 'x'"])
def test_a_directory_alone_is_not_enough(text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert open_detection_files(LAYER, param_of(f"output_directory: '{tmp_path}' {text}"), [1]) is None
    assert "label_map_file and name_size_file are needed" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("output_format: ''", "output_format is ''"),
        ("output_format: 'TIFF'", "output_format is 'TIFF'"),
        ("num_test_image: 4", "num_test_image is 4, but '.*sizes' has 3 images"),
        ("num_test_image: 0", "num_test_image is 0"),
        ("resize_param { height: 3 }", "resize_param has height 3 and width 0"),
        ("label_map_file: '/nowhere'", "cannot read '/nowhere'"),
        ("name_size_file: '/nowhere'", "cannot read '/nowhere'"),
    ],
)
def test_parameters_that_cannot_be_are_refused(folder: Path, text: str, message: str) -> None:
    param = param_of(
        f"output_directory: '{folder}/a' output_format: 'VOC' label_map_file: '{folder}/labels' "
        f"name_size_file: '{folder}/sizes'"
    )
    param.MergeFrom(param_of(text))
    with pytest.raises(NetError, match=rf"layer 'l' \(DetectionOutput\): .*{message}"):
        open_detection_files(LAYER, param, [1, 2])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labels", 'item { name: "a" label: 1 } item { name: "b" label: 1 }', "names label 1 twice"),
        ("sizes", "001 100 200\ntwo 100", "line 2 of '.*sizes' is 'two 100'"),
        ("sizes", "one 100 high", "line 1 of '.*sizes'"),
        ("sizes", "one 0 200", "line 1 of '.*sizes'"),
        ("sizes", "\n", "names no image"),
    ],
)
def test_files_that_make_no_sense_are_refused(folder: Path, name: str, content: str, message: str) -> None:
    (folder / name).write_text(content)
    with pytest.raises(NetError, match=message):
        opened(folder)


def test_a_label_map_that_does_not_parse_is_refused(folder: Path) -> None:
    (folder / "labels").write_text("item {\n name: cat }")
    with pytest.raises(PrototxtError, match="labels:2"):
        opened(folder)


def test_a_directory_that_cannot_be_made_is_refused(folder: Path) -> None:
    (folder / "a").write_text("a file")
    files = opened(folder)
    with pytest.raises(NetError, match=r"cannot write '.*det_cat\.txt'"):
        add(files)


# From the net's input back to the image

BOX = (0.25, 0.4, 0.75, 0.6)


@pytest.mark.parametrize(
    ("text", "box", "expected"),
    [
        # Shares of 200 x 100 pixels.
        ("", BOX, (50, 40, 150, 60)),
        ("", (-0.5, 0.1, 1.5, 0.9), (0, 10, 200, 90)),
        ("resize_param { resize_mode: WARP height: 300 width: 300 }", BOX, (50, 40, 150, 60)),
        ("resize_param { height: 300 width: 300 }", BOX, (50, 40, 150, 60)),
        # The image fills 300 x 150 of 300 x 300, from 1/4 to 3/4 of the height.
        (
            "resize_param { resize_mode: FIT_LARGE_SIZE_AND_PAD height: 300 width: 300 }",
            BOX,
            (50, 30, 150, 70),
        ),
        (
            "resize_param { resize_mode: FIT_LARGE_SIZE_AND_PAD height: 300 width: 300 }",
            (0.25, 0.1, 0.75, 0.5),
            (50, 0, 150, 50),
        ),
        # Wholly on a bar: taken as it is.
        (
            "resize_param { resize_mode: FIT_LARGE_SIZE_AND_PAD height: 300 width: 300 }",
            (0.25, 0.1, 0.75, 0.2),
            (50, 10, 150, 20),
        ),
        # The image fills 100 x 50 of 400 x 50, from 3/8 to 5/8 of the width.
        (
            "resize_param { resize_mode: FIT_LARGE_SIZE_AND_PAD height: 50 width: 400 }",
            (0.4375, 0.4, 0.5625, 0.6),
            (50, 40, 150, 60),
        ),
        ("resize_param { resize_mode: FIT_SMALL_SIZE height: 300 width: 300 }", BOX, (50, 40, 150, 60)),
        # Shares of 240 wide and 120 high, then cut to the image.
        (
            "resize_param { resize_mode: FIT_SMALL_SIZE height: 300 width: 300 height_scale: 120 width_scale: 240 }",
            (-0.5, 0.25, 0.9, 0.5),
            (0, 30, 200, 60),
        ),
    ],
)
def test_boxes_are_brought_back_to_the_image(text: str, box: tuple[float, ...], expected: tuple[float, ...]) -> None:
    pixels = to_pixels(np.array([box], np.float32), 100, 200, param_of(text))
    np.testing.assert_allclose(pixels, [expected], rtol=1e-5, atol=1e-4)
