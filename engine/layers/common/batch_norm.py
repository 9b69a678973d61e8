"""BatchNorm: every channel to mean 0 and deviation 1."""

from __future__ import annotations

import numpy as np

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.layers.common.bands import Array, Band, Middle
from farlayer.engine.layers.common.standardize import center, gradient, variance
from farlayer.engine.registry import register
from farlayer.protos import caffe_pb2

_PARAMS = ("mean", "variance", "scale factor")


@register("BatchNorm")
class BatchNormLayer(Layer):
    """y = (x - mean) / sqrt(variance + eps), for each channel (axis 1).

    With use_global_stats (the default in TEST) mean and variance are the stored ones, params[0] and params[1] divided
    by params[2] (0 where that is 0). Else they are those of the batch, m values a channel, and forward stores them:
    params[0] = fraction * params[0] + mean, params[1] = fraction * params[1] + variance * m / (m - 1),
    params[2] = fraction * params[2] + 1, with fraction = moving_average_fraction.

    bottom[0]: x, shape (N, C, ...); or (N,), which is one channel.
    top[0]: y, the shape of x; may be bottom[0] itself (in place).
    params: shapes (C,), (C,) and (1,); not learnt, so a `param` spec must have lr_mult: 0.
    Source: Caffe, src/caffe/layers/batch_norm_layer.cpp.
    Differs from Caffe: a batch without values leaves the stored statistics alone; Caffe divides by 0.
    """

    exact_num_bottom = 1
    exact_num_top = 1
    allows_in_place = True

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.batch_norm_param
        self._use_global_stats = self.param.phase == caffe_pb2.TEST
        if param.HasField("use_global_stats"):
            self._use_global_stats = param.use_global_stats
        self._fraction = np.float32(param.moving_average_fraction)
        self._eps = np.float32(param.eps)
        self._num_channels = self._channels_of(bottom).dim
        shapes = [(self._num_channels,), (self._num_channels,), (1,)]
        self.make_params(shapes, [caffe_pb2.FillerParameter(type="constant")] * 3)
        self._forbid_learning()

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        self._channels = self._channels_of(bottom)
        if self._channels.dim != self._num_channels:
            raise self.error(
                f"bottom shape {bottom[0].shape} has {self._channels.dim} channels, expected {self._num_channels}",
                remedy="axis 1 must stay as it is between calls",
            )
        top[0].reshape(bottom[0].shape)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        mean, inverse = self._kept("mean"), self._kept("inverse deviation")
        batch_variance = self.workspace.array("batch variance", (self._num_channels,))
        if self._use_global_stats:
            self._read_statistics(mean, inverse)
        for band in self._channels.bands(self.workspace):
            x, y, at = band.of(bottom[0].data), band.of(top[0].data), band.places
            if self._use_global_stats:
                np.subtract(x, band.spread(mean[at]), out=y)
            else:
                mean[at] = center(band, x, out=y)
                batch_variance[at] = variance(band, y)
                inverse[at] = 1 / np.sqrt(batch_variance[at] + self._eps)
            np.multiply(y, band.spread(inverse[at]), out=y)
            if self._keeps_result(bottom, top):
                band.of(self._result(bottom))[...] = y
        if bottom[0].count and not self._use_global_stats:
            self._store_statistics(mean, batch_variance)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if not propagate_down[0]:
            return
        inverse = self._kept("inverse deviation")
        for band in self._channels.bands(self.workspace):
            dy, dx, at = band.of(top[0].diff), band.of(bottom[0].diff), band.places
            if self._use_global_stats:
                np.multiply(dy, band.spread(inverse[at]), out=dx)
            else:
                gradient(band, self._normalized(band, bottom, top), dy, inverse[at], out=dx)

    def _normalized(self, band: Band, bottom: Blobs, top: Blobs) -> Array:
        """The y of the last forward: not read from the top, where a later layer may have worked in place."""
        if self._keeps_result(bottom, top):
            return band.of(self._result(bottom))
        x, at = band.of(bottom[0].data), band.places
        y = self.workspace.array("normalized", x.shape)
        np.subtract(x, band.spread(self._kept("mean")[at]), out=y)
        np.multiply(y, band.spread(self._kept("inverse deviation")[at]), out=y)
        return y

    def _keeps_result(self, bottom: Blobs, top: Blobs) -> bool:
        """Whether backward needs y, and cannot compute it anew from x."""
        return top[0] is bottom[0] and not self._use_global_stats

    def _result(self, bottom: Blobs) -> Array:
        return self.scratch.array("result", bottom[0].shape)

    def _kept(self, name: str) -> Array:
        return self.scratch.array(name, (self._num_channels,))

    def _read_statistics(self, mean: Array, inverse: Array) -> None:
        stored_mean, stored_variance, factor = (blob.data for blob in self.params)
        scale = np.float32(1 / factor[0] if factor[0] else 0)
        mean[...] = stored_mean * scale
        inverse[...] = 1 / np.sqrt(stored_variance * scale + self._eps)

    def _store_statistics(self, mean: Array, batch_variance: Array) -> None:
        count = self._channels.count
        unbiased = batch_variance * np.float32(count / (count - 1) if count > 1 else 1)
        for blob, new in zip(self.params, (mean, unbiased, np.ones(1, np.float32)), strict=True):
            blob.data[...] = blob.data * self._fraction + new

    def _channels_of(self, bottom: Blobs) -> Middle:
        shape = bottom[0].shape
        if not shape:
            raise self.error("the bottom has no axes", remedy="give a bottom of shape (N, channels, ...)")
        return Middle.of(shape, 1, 2) if len(shape) > 1 else Middle(shape[0], 1, 1)

    def _forbid_learning(self) -> None:
        """Gives the statistics lr_mult 0, as Caffe does: solvers and backward leave them alone."""
        specs = self.param.param
        for spec, name in zip(specs, _PARAMS, strict=False):
            if spec.lr_mult != 0:
                raise self.error(
                    f"lr_mult of the {name} is {spec.lr_mult}, but statistics are not learnt",
                    remedy="write param { lr_mult: 0 }, or leave the `param` out",
                )
        while len(specs) < len(_PARAMS):
            specs.add(lr_mult=0)
