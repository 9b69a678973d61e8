"""Batches of windows: a share of foreground, the rest background, drawn at random."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.data.datum import planes_of
from farlayer.engine.data.images import ImageLibrary, image_library, read_file
from farlayer.engine.data.prefetch import Batch
from farlayer.engine.data.transformer import Transformer
from farlayer.engine.data.window_crop import WindowCrop
from farlayer.engine.data.window_file import Window, WindowTable

_CHANNELS = 3


@dataclass
class WindowBatches:
    """A BatchSource of windows, each cropped, resized, perhaps mirrored, less the mean, and scaled.

    Attributes:
        background, foreground: what to draw from; the background comes first in each batch.
        batch_size: windows in a batch.
        num_foreground: how many of them are foreground.
        crop: how a window is cut out.
        transformer: its mean, scale, mirror and numbers are used.
        keeps_images: whether the files of images stay in memory.

    Source: Caffe, src/caffe/layers/window_data_layer.cpp.
    """

    background: WindowTable
    foreground: WindowTable
    batch_size: int
    num_foreground: int
    crop: WindowCrop
    transformer: Transformer
    keeps_images: bool
    _files: dict[str, bytes] = field(default_factory=dict, init=False)
    _library: ImageLibrary = field(default_factory=image_library, init=False)

    def shape(self) -> tuple[int, ...]:
        """See BatchSource."""
        return (self.batch_size, _CHANNELS, self.crop.size, self.crop.size)

    def fill(self, batch: Batch) -> Iterator[None]:
        """See BatchSource."""
        batch.reshape(self.shape())
        batch.data.fill(0)  # and it stays 0, the mean, where a window reaches out of its image
        num_background = self.batch_size - self.num_foreground
        for index in range(self.batch_size):
            table = self.background if index < num_background else self.foreground
            window = table[int(self.transformer.rng.integers(len(table)))]
            self._draw(window, batch.data[index])
            batch.labels[index] = window.label
            yield

    def close(self) -> None:
        """See BatchSource: nothing is open."""

    def _draw(self, window: Window, out: NDArray[np.float32]) -> None:
        mirrored = self.transformer.mirror and bool(self.transformer.rng.integers(2))
        image = self._library.decode(self._file(window.path), "color", f"image '{window.path}'")
        name = f"window {window.box} of image '{window.path}'"
        place = self.crop.place(window.box, image.shape[:2], mirrored=mirrored, name=name)
        part = self._library.resize(image[place.rows, place.columns], *place.size)
        (row, column), (height, width) = place.corner, place.size
        target = out[:, row : row + height, column : column + width]
        target[...] = planes_of(part[:, ::-1] if mirrored else part)
        mean = self.transformer.mean_image
        if mean is not None:
            margin = (mean.shape[2] - self.crop.size) // 2
            row, column = row + margin, column + margin
            target -= mean[:, row : row + height, column : column + width]
        elif self.transformer.mean_values is not None:
            target -= self.transformer.mean_values
        target *= np.float32(self.transformer.scale)

    def _file(self, path: str) -> bytes:
        content = self._files.get(path)
        if content is None:
            content = read_file(path, f"image '{path}'", remedy="check the path in the window file, and root_folder")
        if self.keeps_images:
            self._files[path] = content
        return content
