"""MemoryData: batches from arrays that the caller gives."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farlayer.engine.data.datum import DatumDecoder
from farlayer.engine.data.transformer import forced_color, read_transformer
from farlayer.engine.layer import Blobs, Layer
from farlayer.engine.layers.data.data_source import named_errors, positive
from farlayer.engine.registry import register
from farlayer.protos import caffe_pb2

logger = logging.getLogger(__name__)

Array = NDArray[np.float32]


@register("MemoryData")
class MemoryDataLayer(Layer):
    """Goes through arrays in memory batch by batch, over and over.

    top[0]: data, (batch_size, channels, height, width). top[1]: labels, (batch_size,) at first, and
        (batch_size, 1, 1, 1) from the first forward on, as in Caffe.
    transform_param holds for `add_datums`, not for `set_arrays`.
    Source: Caffe, src/caffe/layers/memory_data_layer.cpp.
    """

    exact_num_bottom = 0
    exact_num_top = 2
    _data: Array | None = None
    _labels: Array
    _position = 0
    _has_unread_datums = False

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.memory_data_param
        self._batch_size = positive(self, param.batch_size, "memory_data_param.batch_size")
        self._shape = (
            positive(self, param.channels, "memory_data_param.channels"),
            positive(self, param.height, "memory_data_param.height"),
            positive(self, param.width, "memory_data_param.width"),
        )
        with named_errors(self):
            self._transformer = read_transformer(self.param.transform_param, self.param.phase, self.context.rng)
        top[0].reshape(self._batch_size, *self._shape)
        top[1].reshape(self._batch_size)

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Nothing: forward does it, since the batch size may change in between."""

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        if self._data is None:
            raise self.error("it has no data yet", remedy="call its set_arrays(data, labels) before forward")
        top[0].reshape(self._batch_size, *self._shape)
        top[1].reshape(self._batch_size, 1, 1, 1)
        batch = slice(self._position, self._position + self._batch_size)
        top[0].data[...] = self._data[batch]
        top[1].data[...] = self._labels[batch].reshape(top[1].shape)
        self._position = batch.stop % len(self._data)
        self._has_unread_datums = self._has_unread_datums and bool(self._position)

    def set_arrays(self, data: ArrayLike, labels: ArrayLike) -> None:
        """Gives the arrays to go through, from their start; Caffe's Reset, pycaffe's Net.set_input_arrays.

        Float32 arrays that are C-contiguous are kept and not copied: what is written to them later is seen.

        Args:
            data: (n, channels, height, width), n a multiple of the batch size.
            labels: n values in any shape.

        Raises:
            NetError: they have other shapes.
        """
        if self.param.HasField("transform_param"):
            logger.warning("layer '%s': transform_param has no effect on arrays in memory", self.name)
        self._go_through(data, labels)

    def add_datums(self, datums: Sequence[caffe_pb2.Datum]) -> None:
        """Gives images to go through, transformed as transform_param says; Caffe's AddDatumVector.

        Raises:
            NetError: earlier ones are not read to their end, or the images do not fit.
        """
        self._need_all_read()
        images = np.empty((len(datums), *self._shape), np.float32)
        decoder = DatumDecoder(forced_color(self.param.transform_param))
        with named_errors(self):
            for index, datum in enumerate(datums):
                name = f"datum {index}"
                self._transformer.place(decoder.planes(datum, name), images[index], name)
            self._transformer.finish(images)
        self._go_through(images, [datum.label for datum in datums])
        self._has_unread_datums = True

    def set_batch_size(self, batch_size: int) -> None:
        """Changes the size of the batches to come; arrays that were given must be given anew.

        Raises:
            NetError: datums are not read to their end.
        """
        self._need_all_read()
        self._batch_size = positive(self, batch_size, "the batch size")
        self._data = None

    def _go_through(self, data: ArrayLike, labels: ArrayLike) -> None:
        images = np.ascontiguousarray(data, np.float32)
        values = np.ascontiguousarray(labels, np.float32).reshape(-1)
        if images.ndim != 1 + len(self._shape) or images.shape[1:] != self._shape or values.size != len(images):
            raise self.error(
                f"data of shape {images.shape} and {values.size} labels are given, expected shape "
                f"(n, {', '.join(map(str, self._shape))}) and n labels",
                remedy="shape the arrays after memory_data_param",
            )
        if not len(images) or len(images) % self._batch_size:
            raise self.error(
                f"{len(images)} images are given, expected a multiple of the batch size, {self._batch_size}",
                remedy="give a multiple, or call set_batch_size",
            )
        self._data, self._labels, self._position = images, values, 0

    def _need_all_read(self) -> None:
        if self._has_unread_datums:
            raise self.error("datums that were added are not all read yet", remedy="run forward until they are")
