"""Data: images from a database."""

from __future__ import annotations

import logging

import numpy as np

from farlayer.engine.data.databases import Backend
from farlayer.engine.data.datum import DatumDecoder
from farlayer.engine.data.prefetch import BatchSource
from farlayer.engine.data.samples import DatumSamples, SampleBatches
from farlayer.engine.data.transformer import forced_color, read_transformer, transform_param_of
from farlayer.engine.layers.data.data_source import given, positive
from farlayer.engine.layers.data.prefetching_layer import PrefetchingLayer
from farlayer.engine.registry import register
from farlayer.protos import caffe_pb2

logger = logging.getLogger(__name__)

_BACKENDS: dict[caffe_pb2.DataParameter.DB.ValueType, Backend] = {
    caffe_pb2.DataParameter.LEVELDB: "leveldb",
    caffe_pb2.DataParameter.LMDB: "lmdb",
}


@register("Data")
class DataLayer(PrefetchingLayer):
    """Reads Datum messages from an LMDB or LevelDB database, in the order of their keys, over and over.

    top[0]: data, (batch_size, channels, height, width), transformed as transform_param says; each batch is shaped by
        its first Datum. top[1], where named: labels, (batch_size,).
    Images that are kept as files are decoded: to three channels with force_encoded_color or
    transform_param.force_color, to one with force_gray, else to those of the file.
    rand_skip is read and has no effect, as in Caffe 1.0.
    Source: Caffe, src/caffe/layers/data_layer.cpp.
    Differs from Caffe: a Datum without a label is refused where there is a second top, instead of read as 0.
    """

    min_num_top = 1
    max_num_top = 2

    def make_batches(self, num_top: int, rng: np.random.Generator) -> BatchSource:
        param = self.param.data_param
        batch_size = positive(self, param.batch_size, "data_param.batch_size")
        if param.rand_skip:
            logger.warning("layer '%s': data_param.rand_skip has no effect, as in Caffe 1.0", self.name)
        transform = transform_param_of(self.param, param)
        decoder = DatumDecoder("color" if param.force_encoded_color else forced_color(transform))
        source = given(self, param.source, "data_param.source")
        samples = DatumSamples(source, _BACKENDS[param.backend], decoder, labelled=num_top > 1)
        return SampleBatches(samples, read_transformer(transform, self.param.phase, rng), batch_size)
