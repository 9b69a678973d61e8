"""The check on allocations for layers that refuse a gradient for some of their bottoms."""

from collections.abc import Sequence
from typing import Any

from farlayer.blobs.blob import Blob
from farlayer.engine.layer import Layer
from tests.engine.support import assert_nothing_is_allocated


class _Restricted:
    """A layer whose backward runs only into the bottoms that may get a gradient."""

    def __init__(self, layer: Layer, propagate_down: Sequence[bool]) -> None:
        self._layer = layer
        self._propagate_down = propagate_down

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)

    def run_backward(self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]) -> None:
        self._layer.run_backward(top, self._propagate_down, bottom)


def assert_a_loss_allocates_nothing(
    layer: Layer, bottom: Sequence[Blob], propagate_down: Sequence[bool], num_top: int = 1
) -> None:
    """As `assert_nothing_is_allocated`. Bottoms need 700 KiB, since NumPy's own buffers take 64."""
    assert_nothing_is_allocated(_Restricted(layer, propagate_down), bottom, num_top)
