"""WindowData: windows of images, as R-CNN is trained on them."""

from __future__ import annotations

import numpy as np

from farlayer.engine.data.prefetch import BatchSource
from farlayer.engine.data.transformer import Transformer, read_transformer, transform_param_of
from farlayer.engine.data.window_batches import WindowBatches
from farlayer.engine.data.window_crop import WindowCrop
from farlayer.engine.data.window_file import read_window_file
from farlayer.engine.layers.data.data_source import given, positive
from farlayer.engine.layers.data.prefetching_layer import PrefetchingLayer
from farlayer.engine.registry import register

_CHANNELS = 3


@register("WindowData")
class WindowDataLayer(PrefetchingLayer):
    """Draws windows of the images that a window file lists: background first, then foreground.

    top[0]: data, (batch_size, 3, crop_size, crop_size): (pixel - mean) * scale, 0 where a window reaches out of its
        image. top[1]: labels, (batch_size,); 0 for background.
    fg_fraction of a batch, rounded down, have an overlap of fg_threshold or more; the others are below bg_threshold.
    crop_mode "warp" stretches a window to crop_size, "square" cuts out the square around it; context_pad pixels of
    the result show what is around the window.
    transform_param: crop_size (needed), mirror, scale, and the mean, of whose image the middle is used.
    Source: Caffe, src/caffe/layers/window_data_layer.cpp.
    Differs from Caffe: transform_param.scale counts (Caffe's upgrade of nets moves it where the layer does not look);
    a crop_mode other than the two is refused; with cache_images a file is read when it is first drawn.
    """

    exact_num_top = 2

    def make_batches(self, num_top: int, rng: np.random.Generator) -> BatchSource:
        param = self.param.window_data_param
        batch_size = positive(self, param.batch_size, "window_data_param.batch_size")
        transform = transform_param_of(self.param, param)
        crop_size = positive(self, transform.crop_size, "transform_param.crop_size")
        if param.crop_mode not in {"warp", "square"}:
            raise self.error(f"crop_mode is '{param.crop_mode}', expected warp or square", remedy="use one of the two")
        if 2 * param.context_pad >= crop_size:
            raise self.error(
                f"context_pad is {param.context_pad}, expected less than half of crop_size, {crop_size}",
                remedy="use a smaller context_pad",
            )
        if not 0 <= param.fg_fraction <= 1:
            raise self.error(f"fg_fraction is {param.fg_fraction}, expected 0 to 1", remedy="choose a share")
        transformer = read_transformer(transform, self.param.phase, rng)
        self._check_mean(transformer, crop_size)
        source = given(self, param.source, "window_data_param.source")
        background, foreground = read_window_file(source, param.root_folder, param.fg_threshold, param.bg_threshold)
        return WindowBatches(
            background,
            foreground,
            batch_size=batch_size,
            num_foreground=int(np.float32(batch_size) * np.float32(param.fg_fraction)),
            crop=WindowCrop(crop_size, param.context_pad, square=param.crop_mode == "square"),
            transformer=transformer,
            keeps_images=param.cache_images,
        )

    def _check_mean(self, transformer: Transformer, crop_size: int) -> None:
        mean, values = transformer.mean_image, transformer.mean_values
        if values is not None and len(values) not in (1, _CHANNELS):
            raise self.error(f"mean_value is given {len(values)} times", remedy="give it once, or three times")
        if mean is None:
            return
        needed = (_CHANNELS, crop_size + (mean.shape[2] - crop_size) // 2, crop_size)
        if mean.shape[0] != _CHANNELS or mean.shape[1] < needed[1] or mean.shape[2] < needed[2]:
            raise self.error(
                f"the mean image of mean_file has shape {mean.shape}, expected at least {needed}",
                remedy="make the mean image from images of the same size, or use mean_value",
            )
