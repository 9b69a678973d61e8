"""ImageData: images from files."""

from __future__ import annotations

import numpy as np

from farlayer.engine.data.image_list import read_image_list
from farlayer.engine.data.prefetch import BatchSource
from farlayer.engine.data.samples import ListedSamples, SampleBatches
from farlayer.engine.data.transformer import read_transformer, transform_param_of
from farlayer.engine.layers.data.data_source import given, positive
from farlayer.engine.layers.data.prefetching_layer import PrefetchingLayer
from farlayer.engine.registry import register


@register("ImageData")
class ImageDataLayer(PrefetchingLayer):
    """Reads the image files of a list, over and over; with shuffle in a new order each time.

    top[0]: data, (batch_size, 3 or 1, height, width), transformed as transform_param says; channels in the order blue,
        green, red, or one where is_color is false; each batch is shaped by its first image. top[1]: labels,
        (batch_size,).
    source: the list, a path and a label a line; root_folder is put before each path as it is. With new_height and
    new_width images are resized (bilinear). rand_skip: begins behind fewer images than this, at random.
    Source: Caffe, src/caffe/layers/image_data_layer.cpp.
    Differs from Caffe: a line without a label is refused, instead of read as 0.
    """

    exact_num_top = 2

    def make_batches(self, num_top: int, rng: np.random.Generator) -> BatchSource:
        param = self.param.image_data_param
        batch_size = positive(self, param.batch_size, "image_data_param.batch_size")
        if bool(param.new_height) != bool(param.new_width):
            raise self.error(
                f"new_height is {param.new_height} and new_width {param.new_width}", remedy="set both, or none"
            )
        images = read_image_list(given(self, param.source, "image_data_param.source"))
        skip = int(rng.integers(param.rand_skip)) if param.rand_skip else 0
        if skip >= len(images.images):
            raise self.error(
                f"rand_skip is {param.rand_skip}, but '{param.source}' has {len(images.images)} images",
                remedy="use a smaller rand_skip",
            )
        samples = ListedSamples(
            images,
            param.root_folder,
            color="color" if param.is_color else "gray",
            size=(param.new_height, param.new_width) if param.new_height else None,
            first=skip,
            shuffle=rng if param.shuffle else None,
        )
        transform = transform_param_of(self.param, param)
        return SampleBatches(samples, read_transformer(transform, self.param.phase, rng), batch_size)
