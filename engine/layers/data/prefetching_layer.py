"""The base of layers whose batches are read ahead by a thread."""

from __future__ import annotations

import numpy as np

from farlayer.engine.data.prefetch import BatchSource, Prefetcher
from farlayer.engine.layer import Blobs, Layer
from farlayer.engine.layers.data.data_source import named_errors


class PrefetchingLayer(Layer):
    """Gives batches of data and labels. A subclass says where they come from.

    top[0]: data, shaped by each batch. top[1], where named: labels, shape (batch size,).
    data_param.prefetch batches are read ahead, for any layer; 0: none, and no thread. The batches are the same either
    way. The first forward starts the thread: before that the process may fork.
    Source: Caffe, src/caffe/layers/base_data_layer.cpp.
    """

    exact_num_bottom = 0
    _prefetcher: Prefetcher | None = None

    def make_batches(self, num_top: int, rng: np.random.Generator) -> BatchSource:
        """Makes the source of batches; `rng` is its own."""
        raise NotImplementedError

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        # A generator of its own: what it draws does not depend on what other layers do meanwhile.
        rng = np.random.default_rng(self.context.rng.integers(2**63))
        with named_errors(self):
            batches = self.make_batches(len(top), rng)
            shape = batches.shape()
        for blob, top_shape in zip(top, (shape, shape[:1])):
            blob.reshape(top_shape)
        self._prefetcher = Prefetcher(batches, self.param.data_param.prefetch, f"prefetch {self.name}")

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Nothing: shapes come with the batches."""

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        assert self._prefetcher is not None, "setup comes first"
        with named_errors(self), self._prefetcher.batch() as batch:
            for blob, values in zip(top, (batch.data, batch.labels)):
                blob.reshape(values.shape)
                blob.data[...] = values

    def close(self) -> None:
        if self._prefetcher is not None:
            self._prefetcher.close()
