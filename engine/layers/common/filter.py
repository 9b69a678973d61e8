"""Filter: the samples that a selector lets through."""

from __future__ import annotations

import numpy as np

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.layers.common.rows import Indices, take_rows
from farlayer.engine.layers.no_gradient import refuse_gradient
from farlayer.engine.registry import register


@register("Filter")
class FilterLayer(Layer):
    """Passes on the samples for which the selector is not 0; the others get no gradient.

    bottom[:-1]: x of each kind, shape (N, any axes...). bottom[-1]: the selector, shape (N, 1...).
    top[i]: the selected samples of bottom[i], shape (selected, any axes...): it changes with the selector's values, and
        may be empty. At setup, where there are no values yet, it has room for all N.
    Differs from Caffe: where nothing was selected backward sets the gradients to 0, where Caffe divides by 0;
        force_backward leaves the selector out, where Caffe's stops the run: it has no gradient.
    Source: Caffe, src/caffe/layers/filter_layer.cpp.
    """

    min_num_bottom = 2
    min_num_top = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        if len(top) != len(bottom) - 1:
            raise self.error(
                f"takes one top for each bottom but the last, the selector; got {len(bottom)} bottoms, {len(top)} tops",
                remedy=f"give the layer {len(bottom) - 1} `top:` line(s)",
            )
        self._selected: Indices | None = None

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        selector = bottom[-1]
        if not selector.shape or any(size != 1 for size in selector.shape[1:]):
            raise self.error(
                f"the selector, bottom[{len(top)}], has shape {selector.shape}, expected one value for each sample",
                remedy="give it the shape (samples,)",
            )
        num = selector.shape[0]
        for index, blob in enumerate(bottom[:-1]):
            if blob.shape[:1] != (num,):
                raise self.error(
                    f"bottom[{index}] has shape {blob.shape}, but the selector has {num} values",
                    remedy="give all bottoms the same number of samples",
                )
        is_setup = self._selected is None
        self._selected = np.arange(num) if is_setup else np.flatnonzero(selector.data)
        for x, y in zip(bottom, top):
            y.reshape(len(self._selected), *x.shape[1:])

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index < len(self.param.bottom) - 1

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        assert self._selected is not None
        for x, y in zip(bottom, top):
            take_rows(x.data, self._selected, y.data)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        refuse_gradient(self, propagate_down, len(top), "the selector")
        for x, y, wanted in zip(bottom, top, propagate_down):
            if wanted:
                dx = x.diff
                dx.fill(0)
                dx[self._selected] = y.diff
