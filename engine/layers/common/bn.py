"""BN: batch normalisation with learnt scale and shift in one layer, in its two kinds."""

from __future__ import annotations

import numpy as np

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.layers.common.bands import Array, Middle
from farlayer.engine.layers.common.standardize import center, gradient, variance
from farlayer.engine.registry import register
from farlayer.protos import caffe_pb2

_SEGNET_FIELDS = {"scale_filler", "shift_filler", "bn_mode"}
_SEGNET_EPS = 1e-9
_TSN_FIELDS = {"slope_filler", "bias_filler", "momentum", "eps", "frozen"}


@register("BN")
class BNLayer(Layer):
    """y = slope (x - mean) / sqrt(variance + eps) + bias, where each channel has its own of all these.

    bottom[0]: x, shape (N, C, ...), at most 4 axes.
    top[0]: y, the shape of x; may be bottom[0] itself (in place).

    Two forks have a layer of this name; the fields of bn_param tell which is meant, the first one where there are none.
    TSN and PSPNet (slope_filler, bias_filler, momentum, eps, frozen):
        params: slope, bias, moving mean, moving variance, each (1, C, 1, 1); the latter two have lr_mult 0.
        TRAIN takes mean and variance of the batch, and moves the moving ones towards them: m := momentum m +
        (1 - momentum) of the batch. TEST takes the moving ones. So does frozen, in both phases; it also gives slope and
        bias lr_mult 0.
    SegNet (scale_filler, shift_filler, bn_mode), eps 1e-9:
        params: slope, bias, each (1, C, 1, 1). top[1], top[2], where named: mean and variance, each (1, C, 1, 1).
        LEARN takes mean and variance of the batch, in both phases; INFERENCE takes 0 and 1, without eps.

    Differs from Caffe (the forks): moving statistics are constants to backward in TEST too; SegNet's gradients of
        params are added, not set, and its variance is the mean squared distance, not E(x^2) - E(x)^2, which is less
        exact.
    Source: the forks of PSPNet and of SegNet, src/caffe/layers/bn_layer.cpp.
    """

    exact_num_bottom = 1
    min_num_top = 1
    max_num_top = 3
    allows_in_place = True

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.bn_param
        given = {descriptor.name for descriptor, _ in param.ListFields()}
        if given & _SEGNET_FIELDS and given & _TSN_FIELDS:
            raise self.error(
                f"bn_param has fields of two different layers: {sorted(given & _SEGNET_FIELDS)} of SegNet's, "
                f"{sorted(given & _TSN_FIELDS)} of TSN's and PSPNet's",
                remedy="keep those of the fork that the net is written for",
            )
        self._check_axes(bottom)
        self._channels = bottom[0].channels
        fillers = self._set_up_as_segnet(top) if given & _SEGNET_FIELDS else self._set_up_as_tsn(top)
        self.make_params([(1, self._channels, 1, 1)] * len(fillers), fillers)

    def _set_up_as_tsn(self, top: Blobs) -> list[caffe_pb2.FillerParameter]:
        param = self.param.bn_param
        if len(top) > 1:
            raise self.error(
                f"{len(top)} tops are given, but only SegNet's layer has its mean and variance as tops",
                remedy="give it one top",
            )
        self._uses_batch = self.param.phase == caffe_pb2.TRAIN and not param.frozen
        self._eps = np.float32(param.eps)
        while len(self.param.param) < 4:
            self.param.param.add()
        for spec in self.param.param[0 if param.frozen else 2 : 4]:
            spec.lr_mult = spec.decay_mult = 0
        moving = [caffe_pb2.FillerParameter(type="constant", value=value) for value in (0, float(param.frozen))]
        return [param.slope_filler, param.bias_filler, *moving]

    def _set_up_as_segnet(self, top: Blobs) -> list[caffe_pb2.FillerParameter]:
        param = self.param.bn_param
        self._uses_batch = param.bn_mode == caffe_pb2.BNParameter.LEARN
        self._eps = np.float32(_SEGNET_EPS if self._uses_batch else 0)
        if len(top) > 1 and not self._uses_batch:
            raise self.error(
                f"{len(top)} tops are given, but with bn_mode INFERENCE there is no mean and no variance",
                remedy="give it one top",
            )
        return [param.scale_filler, param.shift_filler]

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        self._check_axes(bottom)
        if bottom[0].channels != self._channels:
            raise self.error(
                f"bottom shape {bottom[0].shape} has {bottom[0].channels} channels, expected {self._channels} as at "
                "setup",
                remedy="only the other axes may change between calls",
            )
        self._middle = Middle.of(bottom[0].shape, 1, 2)
        top[0].reshape(bottom[0].shape)
        for blob in top[1:]:
            blob.reshape(1, self._channels, 1, 1)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        mean, variances = self._statistics()
        inverse = self._inverse_deviation()
        slope, bias = (blob.data.reshape(-1) for blob in self.params[:2])
        for band in self._middle.bands(self.workspace):
            x, y, at = band.of(bottom[0].data), band.of(top[0].data), band.places
            normalized = band.of(self._normalized(bottom)) if self._keeps_normalized() else y
            if self._uses_batch:
                mean[at] = center(band, x, out=normalized)
                variances[at] = variance(band, normalized)
            else:
                np.subtract(x, band.spread(mean[at]), out=normalized)
            inverse[at] = 1 / np.sqrt(variances[at] + self._eps)
            np.multiply(normalized, band.spread(inverse[at]), out=normalized)
            np.multiply(normalized, band.spread(slope[at]), out=y)
            np.add(y, band.spread(bias[at]), out=y)
        if self._uses_batch and bottom[0].count:
            self._tell(top, (mean, variances))

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        slope, inverse = self.params[0].data.reshape(-1), self._inverse_deviation()
        for band in self._middle.bands(self.workspace):
            dy, at = band.of(top[0].diff), band.places
            if self._keeps_normalized():
                normalized = band.of(self._normalized(bottom))
                if self.param_propagate_down[0]:
                    self.params[0].diff.reshape(-1)[at] += band.dots(dy, normalized)
                if self.param_propagate_down[1]:
                    self.params[1].diff.reshape(-1)[at] += band.sums(dy)
            if not propagate_down[0]:
                continue
            dx, scale = band.of(bottom[0].diff), slope[at] * inverse[at]
            if self._uses_batch:
                gradient(band, normalized, dy, scale, out=dx)
            else:
                np.multiply(dy, band.spread(scale), out=dx)

    def _statistics(self) -> tuple[Array, Array]:
        """Mean and variance of each channel, shape (C,); of a batch: memory for them."""
        if self._uses_batch:
            mean, variances = (self.workspace.array(name, (self._channels,)) for name in ("mean", "variance"))
            return mean, variances
        if len(self.params) > 2:
            return self.params[2].data.reshape(-1), self.params[3].data.reshape(-1)
        return np.zeros(self._channels, np.float32), np.ones(self._channels, np.float32)

    def _tell(self, top: Blobs, statistics: tuple[Array, Array]) -> None:
        """Moves the moving statistics towards those of the batch, or puts these into the tops named for them."""
        momentum = np.float32(self.param.bn_param.momentum)
        for moving, new in zip(self.params[2:], statistics):
            moving.data[...] = momentum * moving.data + (1 - momentum) * new.reshape(moving.shape)
        for blob, new in zip(top[1:], statistics):
            blob.data[...] = new.reshape(blob.shape)

    def _keeps_normalized(self) -> bool:
        """Whether backward needs the normalised x."""
        return self._uses_batch or (any(self.param_propagate_down[:2]) and not self.param.bn_param.frozen)

    def _normalized(self, bottom: Blobs) -> Array:
        """(x - mean) / deviation, kept from forward to backward, since the layer may work in place."""
        return self.scratch.array("normalized", bottom[0].shape)

    def _inverse_deviation(self) -> Array:
        return self.scratch.array("inverse deviation", (self._channels,))

    def _check_axes(self, bottom: Blobs) -> None:
        if not 1 <= len(bottom[0].shape) <= 4:
            raise self.error(
                f"bottom shape {bottom[0].shape} has {len(bottom[0].shape)} axes, expected 1 to 4 (N, C, H, W)",
                remedy="reshape the blob first",
            )
