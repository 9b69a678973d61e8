"""PriorBox: default boxes around the center of each cell of a feature map."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.registry import register

_SAME_RATIO = 1e-6


@register("PriorBox")
class PriorBoxLayer(Layer):
    """Boxes of given sizes and aspect ratios for each cell, in shares of the image's width and height.

    bottom[0]: the feature map, (N, C, H, W). bottom[1]: the image, (N, channels, image H, image W). Only shapes count.
    top[0]: shape (1, 2, H W K 4): row by row K boxes a cell as xmin, ymin, xmax, ymax; then their variances.
    For each min_size s: s x s; with a max_size m sqrt(s m) x sqrt(s m); for each aspect ratio r (and 1 / r with flip)
    other than 1 s sqrt(r) x s / sqrt(r). Sizes are in pixels, whole ones: as in Caffe what is behind the point is cut.
    Centers are (w + offset) step_w and (h + offset) step_h; a step not given is the image's size / the map's.
    Differs from Caffe: backward gives the bottoms zeros, where Caffe's leaves what was there.
    Source: weiliu89/caffe (branch ssd), src/caffe/layers/prior_box_layer.cpp.
    """

    exact_num_bottom = 2
    exact_num_top = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        self._sizes = self._read_sizes()
        self._variance = self._read_variance()
        self._image = self._read_pair("img_size", "img_h", "img_w")
        self._step = self._read_pair("step", "step_h", "step_w")

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        self._map = (bottom[0].height, bottom[0].width)
        if not all(self._map):
            raise self.error(f"bottom shape {bottom[0].shape} has no cells", remedy="give it a larger feature map")
        if self._image is None and not (bottom[1].height and bottom[1].width):
            raise self.error(
                f"the image has shape {bottom[1].shape}: it has no size", remedy="give it the image, or set img_size"
            )
        top[0].reshape(1, 2, math.prod(self._map) * len(self._sizes) * 4)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        image = self._image or (bottom[1].height, bottom[1].width)
        boxes = top[0].data[0, 0].reshape(*self._map, len(self._sizes), 4)
        # A coordinate depends on one axis of the map only, and is the same all along the other.
        for axis, low in ((0, 1), (1, 0)):
            cells, length = self._map[axis], image[axis]
            step = np.float32(self._step[axis] if self._step else length / cells)
            center = (np.arange(cells, dtype=np.float32) + np.float32(self.param.prior_box_param.offset)) * step
            half = self._sizes[:, low] / 2.0
            for place, edge in ((low, center[:, None] - half), (low + 2, center[:, None] + half)):
                boxes[..., place] = np.expand_dims(edge / length, 1 - axis)
        if self.param.prior_box_param.clip:
            np.clip(boxes, 0, 1, out=boxes)
        top[0].data[0, 1].reshape(-1, 4)[...] = self._variance

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        for blob, wanted in zip(bottom, propagate_down, strict=True):
            if wanted:
                blob.diff.fill(0)

    def _read_sizes(self) -> NDArray[np.float64]:
        """Widths and heights of the K boxes of a cell in pixels, rounded to float32 as in Caffe."""
        param = self.param.prior_box_param
        smallest, largest = list(param.min_size), list(param.max_size)
        if not smallest:
            raise self.error("prior_box_param.min_size is missing", remedy="give one or more sizes in pixels")
        if largest and len(largest) != len(smallest):
            raise self.error(
                f"{len(largest)} max_size for {len(smallest)} min_size", remedy="give one for each min_size, or none"
            )
        sizes: list[tuple[float, float]] = []
        for index, low in enumerate(smallest):
            if not low > 0:
                raise self.error(f"min_size is {low}", remedy="give sizes above 0")
            if largest and not largest[index] > low:
                raise self.error(
                    f"max_size {largest[index]} is not larger than min_size {low}", remedy="give a larger max_size"
                )
            sizes.append((int(low), int(low)))
            if largest:
                sizes.append((math.sqrt(int(low) * int(largest[index])),) * 2)
            sizes.extend((int(low) * math.sqrt(ratio), int(low) / math.sqrt(ratio)) for ratio in self._ratios())
        return np.array(sizes, np.float32).astype(np.float64)

    def _ratios(self) -> list[float]:
        """Width / height of the boxes that are no squares, each once."""
        ratios = [1.0]
        for ratio in self.param.prior_box_param.aspect_ratio:
            if not ratio > 0:
                raise self.error(f"aspect_ratio is {ratio}", remedy="give ratios above 0: width / height")
            if all(abs(ratio - known) >= _SAME_RATIO for known in ratios):
                ratios.append(ratio)
                if self.param.prior_box_param.flip:
                    ratios.append(1 / ratio)
        return ratios[1:]

    def _read_variance(self) -> NDArray[np.float32]:
        variance = list(self.param.prior_box_param.variance) or [0.1]
        if len(variance) not in {1, 4}:
            raise self.error(f"{len(variance)} values of variance are given", remedy="give 1 or 4")
        if not min(variance) > 0:
            raise self.error(f"variance is {variance}", remedy="give values above 0")
        return np.array(variance, np.float32)

    def _read_pair(self, both: str, high: str, wide: str) -> tuple[float, float] | None:
        """Height and width given by one field, or by one for each; None where neither is."""
        given = {
            field.name: float(value)
            for field, value in self.param.prior_box_param.ListFields()
            if field.name in {both, high, wide}
        }
        if not given:
            return None
        if both in given and len(given) > 1:
            raise self.error(f"both {both} and {high}/{wide} are given", remedy="keep one of the two forms")
        pair = (given.get(both, given.get(high, 0.0)), given.get(both, given.get(wide, 0.0)))
        if not min(pair) > 0:
            raise self.error(
                f"{', '.join(f'{name} is {value:g}' for name, value in given.items())}",
                remedy=f"give a {both} above 0, or both {high} and {wide} above 0",
            )
        return pair
