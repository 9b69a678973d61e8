"""Eltwise: bottoms of one shape combined, element by element."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.layers.parts import slices
from farlayer.engine.registry import register
from farlayer.protos import caffe_pb2

Array = NDArray[np.float32]
Numbers = NDArray[np.uint16]

_PROD, _SUM, _MAX = (caffe_pb2.EltwiseParameter.EltwiseOp.Value(name) for name in ("PROD", "SUM", "MAX"))


@register("Eltwise")
class EltwiseLayer(Layer):
    """y = the product of all x_i, the sum of all coeff_i * x_i (coeff 1 by default), or the largest x_i.

    Of equal maxima the gradient goes to the last among the first two bottoms, else to the first. That of a product is
    dy times all other x_i with stable_prod_grad, else y / x_i * dy, which fails where x_i is 0.

    bottom[i]: x_i, all of one shape.
    top[0]: y, that shape.
    Source: Caffe, src/caffe/layers/eltwise_layer.cpp. As there, MAX ignores coeff.
    Differs from Caffe: a NaN in any x_i is a maximum; Caffe keeps some of them and loses others.
    """

    min_num_bottom = 2
    max_num_bottom = 2**16  # the numbers of the maxima are kept as uint16
    exact_num_top = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.eltwise_param
        self._operation = param.operation
        if param.coeff and len(param.coeff) != len(bottom):
            raise self.error(
                f"{len(param.coeff)} coeff are given for {len(bottom)} bottoms",
                remedy="give eltwise_param.coeff once for each bottom, or leave it out",
            )
        if param.coeff and self._operation == _PROD:
            raise self.error("coeff is given, but operation is PROD", remedy="use coeff with operation: SUM only")
        self._coeffs = [np.float32(coeff) for coeff in param.coeff] or [np.float32(1)] * len(bottom)

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        shape = bottom[0].shape
        for index, blob in enumerate(bottom):
            if blob.shape != shape:
                raise self.error(
                    f"bottom[{index}] has shape {blob.shape}, bottom[0] has {shape}",
                    remedy="give all bottoms the same shape",
                )
        top[0].reshape(shape)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        flat_xs, flat_y = [blob.data.reshape(-1) for blob in bottom], top[0].data.reshape(-1)
        for part in slices(flat_y.size):
            xs, y = [x[part] for x in flat_xs], flat_y[part]
            if self._operation == _PROD:
                _multiply(xs, out=y)
            elif self._operation == _SUM:
                self._add(xs, out=y)
            else:
                self._take_maxima(xs, out=y, chosen=self._chosen(bottom)[part])

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        flat_xs = [blob.data.reshape(-1) for blob in bottom]
        flat_y, flat_dy = top[0].data.reshape(-1), top[0].diff.reshape(-1)
        for part in slices(flat_y.size):
            xs, y, dy = [x[part] for x in flat_xs], flat_y[part], flat_dy[part]
            for index, blob in enumerate(bottom):
                if not propagate_down[index]:
                    continue
                dx = blob.diff.reshape(-1)[part]
                if self._operation == _SUM:
                    np.multiply(dy, self._coeffs[index], out=dx)
                elif self._operation == _MAX:
                    np.equal(self._chosen(bottom)[part], index, out=dx)
                    np.multiply(dx, dy, out=dx)
                elif self.param.eltwise_param.stable_prod_grad:
                    _multiply([dy, *xs[:index], *xs[index + 1 :]], out=dx)
                else:
                    np.divide(y, xs[index], out=dx)
                    np.multiply(dx, dy, out=dx)

    def _add(self, xs: list[Array], out: Array) -> None:
        """Adds up the bottoms times their coefficients; those of 1 cost no multiplication."""
        term = self.workspace.array("term", out.shape)
        np.add(_times(xs[0], self._coeffs[0], out), _times(xs[1], self._coeffs[1], term), out=out)
        for x, coeff in zip(xs[2:], self._coeffs[2:], strict=True):
            np.add(out, _times(x, coeff, term), out=out)

    def _take_maxima(self, xs: list[Array], out: Array, chosen: Numbers) -> None:
        greater = self.workspace.array_of("greater", out.shape, np.bool_)
        np.greater(xs[0], xs[1], out=greater)
        np.logical_not(greater, out=chosen)
        np.maximum(xs[0], xs[1], out=out)
        numbers = self.workspace.array_of("numbers", out.shape, np.uint16)
        for index, x in enumerate(xs[2:], start=2):
            np.greater(x, out, out=greater)
            # Numbers grow, so the later of two is the larger: a maximum does the work of a slow masked copy.
            np.multiply(greater, np.uint16(index), out=numbers)
            np.maximum(chosen, numbers, out=chosen)
            np.maximum(x, out, out=out)

    def _chosen(self, bottom: Blobs) -> Numbers:
        """For each value the number of the bottom that has the maximum."""
        return self.scratch.array_of("chosen", (bottom[0].count,), np.uint16)


def _times(x: Array, coeff: np.float32, out: Array) -> Array:
    return x if coeff == 1 else np.multiply(x, coeff, out=out)


def _multiply(factors: list[Array], out: Array) -> None:
    np.multiply(factors[0], factors[1], out=out)
    for factor in factors[2:]:
        np.multiply(out, factor, out=out)
