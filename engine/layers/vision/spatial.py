"""The spatial fields of a layer (kernel, stride, pad, dilation), read as Caffe reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from farlayer.engine.layer import Layer
    from farlayer.protos import caffe_pb2


@dataclass(frozen=True)
class Window:
    """A kernel that slides over the spatial axes; each field has one value an axis.

    Attributes:
        kernel: its extent.
        stride: how far it moves.
        pad: zeros put on both sides.
        dilation: the distance between its elements.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def is_identity(self) -> bool:
        """Whether every place sees just its own value (a 1x1 kernel)."""
        return set(self.kernel) <= {1} and set(self.stride) <= {1} and not any(self.pad)

    @property
    def extent(self) -> tuple[int, ...]:
        """What the kernel spans along each axis."""
        return tuple(dilation * (kernel - 1) + 1 for kernel, dilation in zip(self.kernel, self.dilation, strict=True))

    def output_shape(self, spatial: Sequence[int]) -> tuple[int, ...]:
        """How many places the window has along each axis; less than 1 where it does not fit.

        As in Caffe one that is too large by less than its stride has one place; what it sees behind the image is 0.
        """
        return tuple(
            int((size + 2 * pad - extent) / stride) + 1
            for size, extent, stride, pad in zip(spatial, self.extent, self.stride, self.pad, strict=True)
        )

    def padded_shape(self, spatial: Sequence[int]) -> tuple[int, ...]:
        """What all places together see: the spatial shape with the padding on both sides, at least the extent."""
        return tuple(
            max(size + 2 * pad, extent) for size, pad, extent in zip(spatial, self.pad, self.extent, strict=True)
        )

    def sees_more(self, spatial: Sequence[int]) -> bool:
        """Whether some place sees something that is not in the image."""
        return any(self.pad) or self.padded_shape(spatial) != tuple(spatial)

    def image_shape(self, places: Sequence[int]) -> tuple[int, ...]:
        """The smallest spatial shape that gives so many places; less than 1 where all of it is padding."""
        return tuple(
            stride * (size - 1) + extent - 2 * pad
            for size, extent, stride, pad in zip(places, self.extent, self.stride, self.pad, strict=True)
        )


def read_window(layer: Layer, param: caffe_pb2.ConvolutionParameter, num_axes: int) -> Window:
    """Reads a ConvolutionParameter for `num_axes` spatial axes.

    Raises:
        NetError: a field is given the wrong number of times, in both its forms, or is 0 where it must not be.
    """
    kernel = _read_field(
        layer, "kernel_size", param.kernel_size, _pair(param, "kernel_h", "kernel_w"), num_axes, default=None
    )
    stride = _read_field(layer, "stride", param.stride, _pair(param, "stride_h", "stride_w"), num_axes, default=1)
    pad = _read_field(layer, "pad", param.pad, _pair(param, "pad_h", "pad_w"), num_axes, default=0)
    dilation = _read_field(layer, "dilation", param.dilation, None, num_axes, default=1)
    for field, values in (("kernel_size", kernel), ("stride", stride), ("dilation", dilation)):
        if any(value < 1 for value in values):
            raise layer.error(f"{field} is {values}, expected 1 or more", remedy=f"set {field} to 1 or more")
    return Window(kernel, stride, pad, dilation)


def _pair(param: caffe_pb2.ConvolutionParameter, height: str, width: str) -> tuple[int, int] | None:
    given = {
        descriptor.name: int(value) for descriptor, value in param.ListFields() if descriptor.name in {height, width}
    }
    return (given.get(height, 0), given.get(width, 0)) if given else None


def _read_field(
    layer: Layer,
    field: str,
    values: Sequence[int],
    pair: tuple[int, int] | None,
    num_axes: int,
    *,
    default: int | None,
) -> tuple[int, ...]:
    if pair is not None:
        if num_axes != 2:
            raise layer.error(
                f"{field} is given by height and width, but there are {num_axes} spatial axes",
                remedy=f"use {field} once, or once for each spatial axis",
            )
        if values:
            raise layer.error(
                f"{field} is given both as such and by height and width", remedy="keep one of the two forms"
            )
        return pair
    if not values and default is not None:
        return (default,) * num_axes
    if len(values) == 1:
        return (values[0],) * num_axes
    if len(values) != num_axes:
        raise layer.error(
            f"{field} is given {len(values)} times for {num_axes} spatial axes",
            remedy=f"give {field} once, or once for each spatial axis",
        )
    return tuple(values)
