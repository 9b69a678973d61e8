"""Lists of images: a path and a label a line."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

from farlayer.engine.data.images import read_file
from farlayer.protos.errors import InputError


class ListedImage(NamedTuple):
    """One line of a list.

    Attributes:
        path: as written there; it may hold spaces.
        label: a whole number.
        line: number of the line, from 1.
    """

    path: str
    label: int
    line: int


@dataclass(frozen=True)
class ImageList:
    """A list of images, not empty.

    Attributes:
        source: the file that it was read from.
        images: its lines.
    """

    source: str
    images: list[ListedImage]

    def name(self, image: ListedImage) -> str:
        """What an image is called in errors."""
        return f"image '{image.path}' (line {image.line} of '{self.source}')"

    def read(self, image: ListedImage, root_folder: str) -> bytes:
        """Reads the file of an image.

        Raises:
            InputError: it cannot be read.
        """
        remedy = "check the path, and that the root folder has a / at its end"
        return read_file(root_folder + image.path, self.name(image), remedy=remedy)

    def shuffled(self) -> ImageList:
        """The same images in a random order."""
        return ImageList(self.source, random.sample(self.images, len(self.images)))


def read_image_list(source: str) -> ImageList:
    """Reads a list of images. Blank lines, and blanks at the ends of a line, do not count.

    Differs from Caffe, which takes 0 for a label that is missing or no number.

    Raises:
        InputError: the file cannot be read, has no image in it, or a line has no label.
    """
    text = read_file(source, "the list of images").decode("utf-8", "surrogateescape")
    lines = enumerate(text.split("\n"), start=1)
    images = [_parse(line, number, source) for number, line in lines if line.strip()]
    if not images:
        raise InputError(f"the list of images '{source}' is empty", remedy="write a path and a label on each line")
    return ImageList(source, images)


def _parse(line: str, number: int, source: str) -> ListedImage:
    try:
        path, label = line.strip().rsplit(maxsplit=1)
        return ListedImage(path, int(label), number)
    except ValueError as error:
        raise InputError(
            f"line {number} of '{source}' is '{line.strip()}', expected a path and a label, which is a whole number",
            remedy="write a label behind each path; 0 where there is none",
        ) from error
