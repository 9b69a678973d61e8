"""Window files of R-CNN: images, and windows in them with a class and their overlap with an object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from farlayer.protos.errors import InputError

_WINDOW_WORDS = 6  # class, overlap, x1, y1, x2, y2
_FORMAT = (
    "write for each image: # number, path, channels, height, width, number of windows; then for each of its windows: "
    "class, overlap, x1, y1, x2, y2"
)


class Window(NamedTuple):
    """A part of an image.

    Attributes:
        path: of the image.
        label: its class; 0 for background.
        box: x1, y1, x2, y2: the first and the last pixel, counted from 0.
    """

    path: str
    label: int
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class WindowTable:
    """Windows of one kind.

    Attributes:
        paths: of the images.
        rows: a row a window: index of the image, label, x1, y1, x2, y2.
    """

    paths: list[str]
    rows: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Window:
        image, label, x1, y1, x2, y2 = self.rows[index].tolist()
        return Window(self.paths[image], label, (x1, y1, x2, y2))


def read_window_file(
    source: str, root_folder: str, fg_threshold: float, bg_threshold: float
) -> tuple[WindowTable, WindowTable]:
    """Reads a window file.

    Args:
        source: the file.
        root_folder: put before each path as it is.
        fg_threshold: overlap from which a window is foreground.
        bg_threshold: overlap below which any other is background; the rest is left out.

    Returns:
        The windows of the background, and those of the foreground. Neither is empty.

    Raises:
        InputError: the file cannot be read, is damaged, or lacks one of the two kinds.

    Source: Caffe, src/caffe/layers/window_data_layer.cpp.
    Differs from Caffe: an image is known by its place in the file, not by the number behind its #.
    """
    paths: list[str] = []
    parts: tuple[list[NDArray[np.int32]], list[NDArray[np.int32]]] = ([], [])
    try:
        with open(source, encoding="utf-8", errors="surrogateescape") as lines:
            for path, windows in _images(_Words(lines, source)):
                is_fg = windows[:, 1].astype(np.float32) >= np.float32(fg_threshold)
                is_bg = ~is_fg & (windows[:, 1].astype(np.float32) < np.float32(bg_threshold))
                if (windows[is_fg, 0] <= 0).any():
                    raise InputError(
                        f"the window file '{source}': a foreground window of image '{path}' has a class below 1",
                        remedy="number the classes from 1; 0 is the background",
                    )
                windows[is_bg, 0] = 0
                windows[:, 1] = windows[:, 0]
                windows[:, 0] = len(paths)
                paths.append(root_folder + path)
                for part, chosen in zip(parts, (is_bg, is_fg), strict=True):
                    part.append(windows[chosen].astype(np.int32))
    except OSError as error:
        raise InputError(
            f"cannot read the window file '{source}': {error.strerror}", remedy="check the path"
        ) from error
    background, foreground = (WindowTable(paths, np.concatenate(part)) for part in parts)
    for table, what, field in ((background, "background", "bg_threshold"), (foreground, "foreground", "fg_threshold")):
        if not len(table):
            raise InputError(
                f"the window file '{source}' has no {what} window", remedy=f"change {field}, or add such windows"
            )
    return background, foreground


class _Words:
    """The words of a file, one after the other, whatever lines they are on: as the original reads them."""

    def __init__(self, lines: Iterable[str], source: str) -> None:
        self._source = source
        self._line = 0
        self._words = self._split(lines)

    def _split(self, lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            self._line += 1
            yield from line.split()

    def next(self) -> str | None:
        """The next word; None at the end."""
        return next(self._words, None)

    def numbers(self, count: int, what: str) -> NDArray[np.float64]:
        """The next words as numbers.

        Raises:
            InputError: there are not so many, or one is no number.
        """
        try:
            numbers = np.array(list(islice(self._words, count)), np.float64)
        except ValueError as error:
            raise self.error(f"{what} expected: {error}") from error
        if len(numbers) < count or not np.isfinite(numbers).all():
            raise self.error(f"{count} numbers expected: {what}; got {len(numbers)}")
        return numbers

    def error(self, message: str) -> InputError:
        """Makes an error that names the last line that was read."""
        return InputError(
            f"the window file '{self._source}', read as far as line {self._line}: {message}", remedy=_FORMAT
        )


def _images(words: _Words) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Each image's path, and a row a window as the file has it."""
    mark = words.next()
    if mark is None:
        raise words.error("it is empty")
    while mark is not None:
        if mark != "#":
            raise words.error(f"'{mark}' where the # of an image is expected")
        words.numbers(1, "the number of an image")
        path = words.next()
        if path is None:
            raise words.error("it ends where the path of an image is expected")
        channels, _, _, count = words.numbers(4, "channels, height, width and number of windows")
        if channels != 3:
            raise words.error(f"image '{path}' has {channels:g} channels; images are read in colour, expected 3")
        if count < 0:
            raise words.error(f"image '{path}' has {count:g} windows")
        yield path, words.numbers(int(count) * _WINDOW_WORDS, "the windows").reshape(-1, _WINDOW_WORDS)
        mark = words.next()
