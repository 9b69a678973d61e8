"""Reorg: space moved into channels, as YOLO v2 does it."""

from __future__ import annotations

from farlayer.engine.layer import Blobs
from farlayer.engine.layers.common.rearranging_layer import Array, RearrangingLayer
from farlayer.engine.registry import register

_NUM_AXES = 4


@register("Reorg")
class ReorgLayer(RearrangingLayer):
    """Gives each place of a cell of S x S places channels of its own, S being reorg_param.stride; or with reverse back.

    The memory of x is read as C / S^2 channels of (H * S) x (W * S); the S^2 places of its cells, row by row, become
    groups of channels, and the result is taken as C * S^2 channels of (H / S) x (W / S). So Darknet does, and weights
    trained with it expect it, odd as it is. With reverse, x are the groups, and y is what was read.
    bottom[0]: x, shape (N, C, H, W); S^2 divides C and, unless reverse, S divides H and W.
    top[0]: y, shape (N, C * S^2, H / S, W / S); with reverse (N, C / S^2, H * S, W * S).
    Differs from Caffe (the forks): they have no gradient, or a wrong one. choasup/caffe-yolo9000 reads and writes the
        other way round; its weights cannot be used here.
    Source: Darknet, src/blas.c (reorg_cpu); Caffe of YOLO v2 (gklz1982/caffe-yolov2), src/caffe/layers/reorg_layer.cpp.
    """

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        stride, reverse = self.param.reorg_param.stride, self.param.reorg_param.reverse
        shape = bottom[0].shape
        if not stride:
            raise self.error("reorg_param.stride is 0", remedy="set it to 1 or more")
        if (
            len(shape) != _NUM_AXES
            or shape[1] % stride**2
            or not (reverse or shape[2] % stride == shape[3] % stride == 0)
        ):
            raise self.error(
                f"reorg_param.stride is {stride} for a bottom of shape {shape}",
                remedy="give it 4 axes, a number of channels that stride * stride divides and, unless reverse, a "
                "height and a width that stride divides",
            )
        num, channels, height, width = shape
        self._cells = (num, channels // stride**2, height, stride, width, stride)
        if reverse:
            top[0].reshape(num, channels // stride**2, height * stride, width * stride)
        else:
            top[0].reshape(num, channels * stride**2, height // stride, width // stride)

    def views(self, x: Array, y: Array) -> tuple[Array, Array]:
        image, groups = (y, x) if self.param.reorg_param.reverse else (x, y)
        # (num, channel, row, row in cell, column, column in cell) -> (num, row in cell, column in cell, channel, ...)
        image = image.reshape(self._cells).transpose(0, 3, 5, 1, 2, 4)
        groups = groups.reshape(image.shape)
        return (groups, image) if self.param.reorg_param.reverse else (image, groups)
