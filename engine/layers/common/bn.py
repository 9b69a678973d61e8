"""BN: batch normalisation with learnt scale and shift in one layer, in its two kinds."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.registry import register
from farlayer.protos import caffe_pb2

Array = NDArray[np.float32]

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
        self._has_moving, self._uses_batch = True, self.param.phase == caffe_pb2.TRAIN and not param.frozen
        self._eps = param.eps
        while len(self.param.param) < 4:
            self.param.param.add()
        for spec in self.param.param[0 if param.frozen else 2 : 4]:
            spec.lr_mult = spec.decay_mult = 0
        moving = [caffe_pb2.FillerParameter(type="constant", value=value) for value in (0, float(param.frozen))]
        return [param.slope_filler, param.bias_filler, *moving]

    def _set_up_as_segnet(self, top: Blobs) -> list[caffe_pb2.FillerParameter]:
        param = self.param.bn_param
        self._has_moving, self._uses_batch = False, param.bn_mode == caffe_pb2.BNParameter.LEARN
        self._eps = _SEGNET_EPS if self._uses_batch else 0
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
        top[0].reshape(bottom[0].shape)
        for blob in top[1:]:
            blob.reshape(1, self._channels, 1, 1)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        x, y = self._by_channel(bottom[0].data), self._by_channel(top[0].data)
        if not x.size:
            return
        slope, bias = (self._by_channel(blob.data) for blob in self.params[:2])
        normalized = self._normalized(x.shape) if self._keeps_normalized() else y
        inverse_std = self._inverse_std()
        np.subtract(x, self._mean(x, top), out=normalized)
        np.add(self._variance(normalized, top), np.float32(self._eps), out=inverse_std)
        np.power(inverse_std, np.float32(-0.5), out=inverse_std)
        np.multiply(normalized, inverse_std, out=normalized)
        np.multiply(normalized, slope, out=y)
        np.add(y, bias, out=y)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        dy = self._by_channel(top[0].diff)
        if not dy.size:
            return
        if self._keeps_normalized():
            normalized, product = self._normalized(dy.shape), self.workspace.array("product", dy.shape)
            np.multiply(dy, normalized, out=product)
            dslope, dbias = _sum(product), _sum(dy)
            for param, gradient, wanted in zip(self.params, (dslope, dbias), self.param_propagate_down, strict=False):
                if wanted:
                    np.add(param.diff, gradient.reshape(param.shape), out=param.diff)
        if not propagate_down[0]:
            return
        dx = self._by_channel(bottom[0].diff)
        if self._uses_batch:
            # Less what the mean took away, what is the same everywhere, and what the variance did, what is like y.
            count = np.float32(dy.shape[0] * dy.shape[2])
            np.multiply(normalized, dslope / count, out=product)
            np.subtract(dy, product, out=dx)
            np.subtract(dx, dbias / count, out=dx)
        else:
            np.copyto(dx, dy)
        np.multiply(dx, self._by_channel(self.params[0].data) * self._inverse_std(), out=dx)

    # The statistics, of shape (1, C, 1)

    def _mean(self, x: Array, top: Blobs) -> Array:
        if self._uses_batch:
            return self._tell(x.mean(axis=(0, 2), keepdims=True), 2, top)
        return self._by_channel(self.params[2].data) if self._has_moving else np.zeros((1, 1, 1), np.float32)

    def _variance(self, centered: Array, top: Blobs) -> Array:
        if self._uses_batch:
            squares = self.workspace.array("squares", centered.shape)
            np.multiply(centered, centered, out=squares)
            return self._tell(squares.mean(axis=(0, 2), keepdims=True), 3, top)
        return self._by_channel(self.params[3].data) if self._has_moving else np.ones((1, 1, 1), np.float32)

    def _tell(self, statistic: Array, index: int, top: Blobs) -> Array:
        """Moves params[index] towards a statistic of the batch, or puts it into the top where there is one for it."""
        if self._has_moving:
            moving = self._by_channel(self.params[index].data)
            momentum = np.float32(self.param.bn_param.momentum)
            moving[...] = momentum * moving + (1 - momentum) * statistic
        elif len(top) > index - 1:
            self._by_channel(top[index - 1].data)[...] = statistic
        return statistic

    # Helpers

    def _keeps_normalized(self) -> bool:
        """Whether backward needs the normalised x."""
        return self._uses_batch or (any(self.param_propagate_down[:2]) and not self.param.bn_param.frozen)

    def _normalized(self, shape: tuple[int, ...]) -> Array:
        """(x - mean) / std, kept from forward to backward, since the layer may work in place."""
        return self.scratch.array("normalized", shape)

    def _inverse_std(self) -> Array:
        return self.scratch.array("inverse std", (1, self._channels, 1))

    def _by_channel(self, array: Array) -> Array:
        """A view as (samples, channels, places)."""
        return array.reshape(math.prod(array.shape[:1]), self._channels, math.prod(array.shape[2:]))

    def _check_axes(self, bottom: Blobs) -> None:
        if not 1 <= len(bottom[0].shape) <= 4:
            raise self.error(
                f"bottom shape {bottom[0].shape} has {len(bottom[0].shape)} axes, expected 1 to 4 (N, C, H, W)",
                remedy="reshape the blob first",
            )


def _sum(values: Array) -> Array:
    """The sum of each channel of (samples, channels, places), as (1, channels, 1)."""
    return np.add.reduce(values, axis=(0, 2), keepdims=True)
