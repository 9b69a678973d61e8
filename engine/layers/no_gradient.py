"""Where there is no gradient: in some layers at all, in others for some bottoms. Whoever asks for one is refused."""

from __future__ import annotations

from farlayer.engine.layer import Blobs, Flags, Layer


def refuse_gradient(layer: Layer, propagate_down: Flags, index: int, what: str) -> None:
    """Makes sure that a bottom is to get no gradient.

    Args:
        layer: whose backward runs.
        propagate_down: as backward has it.
        index: of the bottom.
        what: what the bottom is, for the error.

    Raises:
        NetError: it is to get one.
    """
    if propagate_down[index]:
        raise layer.error(f"{what} cannot have a gradient", remedy=f"set propagate_down: false for bottom[{index}]")


class NoGradientLayer(Layer):
    """A layer without a gradient; force_backward leaves its bottoms out."""

    def allow_force_backward(self, bottom_index: int) -> bool:
        return False

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        if any(propagate_down):
            raise self.error(
                "it has no gradient, but one of its bottoms is to get one",
                remedy="give it no loss_weight, and let no loss depend on its tops; or set propagate_down: false",
            )
