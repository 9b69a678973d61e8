"""Files of detections, as the tools of PASCAL VOC, COCO and ILSVRC read them."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layers.detection.boxes import Array
from farlayer.engine.prototxt import parse
from farlayer.protos import caffe_pb2

if TYPE_CHECKING:
    from farlayer.engine.layer import Layer

logger = logging.getLogger(__name__)

_FORMATS = ("VOC", "COCO", "ILSVRC")


@dataclass(frozen=True)
class _Detection:
    """One line of a file; the box in pixels: left, top, width, height, to two digits."""

    image: str
    label: int
    score: float
    box: tuple[float, float, float, float]

    def line(self) -> str:
        """Score and corners, as VOC and ILSVRC have them: of whole pixels."""
        left, top, width, height = (int(value) for value in self.box)
        return f"{self.score:g} {left} {top} {left + width} {top + height}\n"


class DetectionFiles:
    """Collects the detections of as many images as are tested, then writes them and begins anew, with empty files.

    Images come in the order of the name_size_file. Formats:
    VOC: a file for each class, PREFIX + name of the class + .txt, of lines: image score xmin ymin xmax ymax.
    COCO: one file, PREFIX.json, a list of {image_id, category_id, bbox: [left, top, width, height], score}; names that
    are whole numbers are written as such.
    ILSVRC: one file, PREFIX.txt, of lines: image label score xmin ymin xmax ymax.
    Differs from Caffe: the directory is not emptied first, only files of the same names are overwritten; numbers in
    JSON are written with as many digits as they need, and a list may be empty; an unknown format is refused.

    Args:
        layer: for errors.
        param: with all that `open_detection_files` checks.
        classes: the labels without the background.
        class_names: the name of each label.
        images: name, height and width of each image.

    Source: weiliu89/caffe (branch ssd), src/caffe/layers/detection_output_layer.cpp.
    """

    def __init__(
        self,
        layer: Layer,
        param: caffe_pb2.SaveOutputParameter,
        classes: Sequence[int],
        class_names: dict[int, str],
        images: list[tuple[str, int, int]],
    ) -> None:
        self._layer = layer
        self._param = param
        self._classes = classes
        self._class_names = class_names
        self._images = images
        self._num_images = param.num_test_image if param.HasField("num_test_image") else len(images)
        self._count = 0
        self._detections: list[_Detection] = []

    def add(self, labels: Array, scores: Array, boxes: Array) -> None:
        """Takes the detections of the next image, and writes the files after the last.

        Args:
            labels: shape (D,).
            scores: shape (D,).
            boxes: shape (D, 4), in shares of the image.

        Raises:
            NetError: a label has no name, or a file cannot be written.
        """
        if self._count == 0:
            self._write()  # so that nobody takes the files of an earlier run for those of this one
        name, height, width = self._images[self._count]
        pixels = to_pixels(boxes, height, width, self._param)
        pixels[:, 2:] -= pixels[:, :2]
        rounded = np.floor(pixels.astype(np.float64) * 100 + 0.5) / 100
        for label, score, box in zip(labels.astype(int).tolist(), scores, rounded.tolist(), strict=True):
            self._name(label)
            self._detections.append(_Detection(name, label, float(str(score)), tuple(box)))
        self._count += 1
        if self._count == self._num_images:
            self._write()
            self._count = 0
            self._detections.clear()

    def _write(self) -> None:
        writers = {"VOC": self._voc, "COCO": self._coco, "ILSVRC": self._ilsvrc}
        for name, content in writers[self._param.output_format]().items():
            path = Path(self._param.output_directory) / f"{self._param.output_name_prefix}{name}"
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content)
            except OSError as error:
                raise self._layer.error(
                    f"cannot write '{path}': {error.strerror or error}",
                    remedy="correct save_output_param.output_directory, or make room there",
                ) from error

    def _voc(self) -> dict[str, str]:
        lines: dict[int, list[str]] = {label: [] for label in self._classes if label in self._class_names}
        for detection in self._detections:
            lines[detection.label].append(f"{detection.image} {detection.line()}")
        return {f"{self._name(label)}.txt": "".join(of_class) for label, of_class in lines.items()}

    def _coco(self) -> dict[str, str]:
        entries = [
            {
                "image_id": _number_or_text(detection.image),
                "category_id": _number_or_text(self._name(detection.label)),
                "bbox": detection.box,
                "score": detection.score,
            }
            for detection in self._detections
        ]
        return {".json": json.dumps(entries, indent=4) + "\n"}

    def _ilsvrc(self) -> dict[str, str]:
        return {".txt": "".join(f"{found.image} {found.label} {found.line()}" for found in self._detections)}

    def _name(self, label: int) -> str:
        if label not in self._class_names:
            raise self._layer.error(
                f"label {label} has no name in '{self._param.label_map_file}'",
                remedy="add an item for it to the label map",
            )
        return self._class_names[label]


def open_detection_files(
    layer: Layer, param: caffe_pb2.SaveOutputParameter, classes: Sequence[int]
) -> DetectionFiles | None:
    """Reads what files need to be written.

    Returns:
        The files; None where the parameters name no directory, or not both of label_map_file and name_size_file.

    Raises:
        NetError: the parameters or files do not hold together.
        PrototxtError: the label map does not parse.
    """
    if not param.output_directory:
        return None
    if not (param.label_map_file and param.name_size_file):
        logger.warning(
            "layer '%s': no files are written to '%s': label_map_file and name_size_file are needed for them",
            layer.name,
            param.output_directory,
        )
        return None
    if param.output_format not in _FORMATS:
        raise layer.error(f"output_format is '{param.output_format}'", remedy=f"choose one of {', '.join(_FORMATS)}")
    resize = param.resize_param
    if param.HasField("resize_param") and not (resize.height and resize.width):
        raise layer.error(
            f"save_output_param.resize_param has height {resize.height} and width {resize.width}",
            remedy="give both, above 0, or leave resize_param out",
        )
    images = _read_images(layer, param.name_size_file)
    if param.HasField("num_test_image") and not 0 < param.num_test_image <= len(images):
        raise layer.error(
            f"num_test_image is {param.num_test_image}, but '{param.name_size_file}' has {len(images)} images",
            remedy=f"use 1 to {len(images)}",
        )
    return DetectionFiles(layer, param, classes, _read_class_names(layer, param.label_map_file), images)


def _read_class_names(layer: Layer, path: str) -> dict[int, str]:
    names: dict[int, str] = {}
    for item in parse(_read_text(layer, path), caffe_pb2.LabelMap(), path).item:
        if item.label in names:
            raise layer.error(f"'{path}' names label {item.label} twice", remedy="remove one of the two items")
        names[item.label] = item.name
    return names


def _read_images(layer: Layer, path: str) -> list[tuple[str, int, int]]:
    images = []
    for number, line in enumerate(_read_text(layer, path).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if len(words) != 3 or not all(word.isdecimal() and int(word) for word in words[1:]):
            raise layer.error(
                f"line {number} of '{path}' is '{line}', expected: name height width", remedy="correct the line"
            )
        images.append((words[0], int(words[1]), int(words[2])))
    if not images:
        raise layer.error(f"'{path}' names no image", remedy="give a line of name, height and width for each image")
    return images


def _read_text(layer: Layer, path: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise layer.error(f"cannot read '{path}': {error}", remedy="correct save_output_param") from error


def _number_or_text(name: str) -> int | str:
    return int(name) if name.lstrip("-").isdecimal() and str(int(name)) == name else name


def to_pixels(boxes: Array, height: int, width: int, param: caffe_pb2.SaveOutputParameter) -> Array:
    """Gives boxes (D, 4), in shares of what the net saw, as corners in an image, and inside it.

    Where resize_param says how the image was brought to the net's size, that is undone: WARP needs nothing;
    FIT_LARGE_SIZE_AND_PAD put bars on two sides; FIT_SMALL_SIZE cut a piece of height_scale x width_scale.

    Source: weiliu89/caffe (branch ssd), src/caffe/util/bbox_util.cpp (OutputBBox).
    """
    size = np.array([width, height, width, height], np.float32)
    resize = param.resize_param
    mode = resize.resize_mode if param.HasField("resize_param") else caffe_pb2.ResizeParameter.WARP
    if mode == caffe_pb2.ResizeParameter.FIT_SMALL_SIZE and resize.height_scale and resize.width_scale:
        scale = np.array([resize.width_scale, resize.height_scale] * 2, np.float32)
        pixels: Array = np.clip(boxes * scale, 0, size)
        return pixels
    if mode == caffe_pb2.ResizeParameter.FIT_LARGE_SIZE_AND_PAD:
        boxes = _without_bars(boxes, width / height, resize)
    return np.clip(boxes, 0, 1) * size


def _without_bars(boxes: Array, aspect: float, resize: caffe_pb2.ResizeParameter) -> Array:
    """Boxes in shares of the image's part of the padded square; those wholly on a bar stay as they are, as in Caffe."""
    fitted = aspect * resize.height / resize.width  # of the two sides the longer one fills the net's input
    source: NDArray[np.float32] = np.array([0, 0, 1, 1], np.float32)
    if fitted > 1:
        source[1], source[3] = (1 - 1 / fitted) / 2, (1 + 1 / fitted) / 2
    else:
        source[0], source[2] = (1 - fitted) / 2, (1 + fitted) / 2
    inside = np.all((boxes[:, :2] < source[2:]) & (boxes[:, 2:] > source[:2]), axis=1)
    projected = (boxes - np.tile(source[:2], 2)) / np.tile(source[2:] - source[:2], 2)
    whole: Array = np.where(inside[:, None], projected, boxes)
    return whole
