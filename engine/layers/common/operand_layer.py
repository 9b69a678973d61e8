"""What Bias and Scale share: an operand that meets some axes of bottom[0] and is broadcast along the others."""

from __future__ import annotations

from farlayer.blobs.blob import Blob
from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.layers.common.bands import Middle
from farlayer.protos import caffe_pb2


class OperandLayer(Layer):
    """Combines x with an operand, which is bottom[1] or, without one, params[0].

    The first axis of the operand meets `axis` of x. As a param it has num_axes axes; -1: all from there on; 0: it is
    a scalar. A scalar meets any x.
    """

    min_num_bottom = 1
    max_num_bottom = 2
    exact_num_top = 1
    allows_in_place = True

    def met_shape(
        self, x: Blob, field: str, param: caffe_pb2.BiasParameter | caffe_pb2.ScaleParameter
    ) -> tuple[int, ...]:
        """The axes of x that a param meets.

        Args:
            x: bottom[0].
            field: the parameter's name, for errors.
            param: has axis and num_axes.

        Raises:
            NetError: x has no such axes.
        """
        axis = self.canonical_axis(param.axis, x, f"{field}.axis")
        left = len(x.shape) - axis
        if not -1 <= param.num_axes <= left:
            raise self.error(
                f"{field}.num_axes is {param.num_axes}, but from axis {axis} on bottom shape {x.shape} has only {left}",
                remedy=f"choose a num_axes from 0 to {left}, or -1 for all of them",
            )
        return x.shape[axis:] if param.num_axes == -1 else x.shape[axis : axis + param.num_axes]

    def operand(self, bottom: Blobs) -> Blob:
        """The operand: bottom[1] where there is one."""
        return bottom[1] if len(bottom) > 1 else self.params[0]

    def operand_learns(self, bottom: Blobs, propagate_down: Flags) -> bool:
        """Whether backward shall add to the operand's diff; a bottom's, to be set and not added to, is cleared here."""
        if len(bottom) == 1:
            return self.param_propagate_down[0]
        if propagate_down[1]:
            bottom[1].diff.fill(0)
        return propagate_down[1]

    def meet(self, x: Blob, operand: Blob, field: str, axis: int) -> Middle:
        """Groups the axes of x around those that the operand meets.

        Raises:
            NetError: the shapes do not fit.
        """
        start = self.canonical_axis(axis, x, f"{field}.axis") if operand.shape else 0
        stop = start + len(operand.shape)
        if x.shape[start:stop] != operand.shape:
            raise self.error(
                f"an operand of shape {operand.shape} meets {x.shape[start:stop]} of bottom shape {x.shape} from axis "
                f"{start} on",
                remedy=f"give it the shape of those axes, or change {field}.axis",
            )
        return Middle.of(x.shape, start, stop)
