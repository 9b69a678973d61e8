"""Input: blobs that the caller fills."""

from __future__ import annotations

from farlayer.engine.layer import Blobs, Layer
from farlayer.engine.registry import register


@register("Input")
class InputLayer(Layer):
    """Gives its tops a shape; whoever runs the net writes their data before forward.

    top[i]: shape input_param.shape[i], or the only shape given; without any the caller reshapes the top.
    Source: Caffe, src/caffe/layers/input_layer.cpp.
    """

    exact_num_bottom = 0
    min_num_top = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        shapes = self.param.input_param.shape
        if len(shapes) not in (0, 1, len(top)):
            raise self.error(
                f"input_param.shape is given {len(shapes)} times for {len(top)} tops",
                remedy="give shape once, or once for each top",
            )
        for index, blob in enumerate(top):
            if shapes:
                blob.reshape(shapes[0 if len(shapes) == 1 else index].dim)

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Nothing: a shape that the caller gave stays."""

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Nothing: the data is the caller's."""
