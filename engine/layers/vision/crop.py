"""Crop: a blob cut to the size of another one."""

from __future__ import annotations

from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.registry import register


@register("Crop")
class CropLayer(Layer):
    """Cuts x, from crop_param.axis on, to the size of a reference, at an offset: one for all axes or one for each.

    bottom[0]: x, any shape. bottom[1]: the reference; its sizes from the axis on count, its values do not.
    top[0]: the cut, shape (axes of x before the axis..., axes of the reference from it on...).
    Differs from Caffe: where the reference is to get a gradient, it is set to 0 rather than left as it was.
    Source: Caffe, src/caffe/layers/crop_layer.cpp.
    """

    exact_num_bottom = 2
    exact_num_top = 1

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.crop_param
        x, reference = bottom[0].shape, bottom[1].shape
        axis = self.canonical_axis(param.axis, bottom[0], "crop_param.axis")
        if len(reference) < len(x):
            raise self.error(
                f"the reference, bottom[1], has shape {reference}, but {len(x)} axes are needed to crop shape {x}",
                remedy="give it as many axes as bottom[0]",
            )
        offsets = list(param.offset) or [0]
        if len(offsets) == 1:
            offsets *= len(x) - axis
        if len(offsets) != len(x) - axis:
            raise self.error(
                f"crop_param.offset is given {len(offsets)} times, but {len(x) - axis} axes of {x} are cropped",
                remedy="give one offset for all axes from crop_param.axis on, one for each, or none",
            )
        for place, offset in enumerate(offsets, axis):
            if offset + reference[place] > x[place]:
                raise self.error(
                    f"axis {place} of size {x[place]} cannot be cropped to {reference[place]} at offset {offset}",
                    remedy="choose a smaller offset, or give it a larger bottom[0]",
                )
        top[0].reshape(*x[:axis], *reference[axis : len(x)])
        self._window = (
            *[slice(None)] * axis,
            *(slice(offset, offset + size) for offset, size in zip(offsets, reference[axis:])),
        )

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        top[0].data[...] = bottom[0].data[self._window]

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if propagate_down[0]:
            dx = bottom[0].diff
            dx.fill(0)
            dx[self._window] = top[0].diff
        if propagate_down[1]:
            bottom[1].diff.fill(0)
