"""DummyData: tops filled by fillers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from farlayer.blobs.blob import Blob
from farlayer.engine.fillers import fill
from farlayer.engine.layer import Blobs, Layer
from farlayer.engine.registry import register
from farlayer.protos import caffe_pb2

Value = TypeVar("Value")


@register("DummyData")
class DummyDataLayer(Layer):
    """Fills its tops: once at setup with a constant filler, anew at every forward with any other.

    top[i]: shape dummy_data_param.shape[i] (or num, channels, height, width), filled by data_filler[i]; what is given
        once holds for all tops; without a filler the top is zero.
    Source: Caffe, src/caffe/layers/dummy_data_layer.cpp.
    """

    exact_num_bottom = 0
    min_num_top = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        fillers = self.param.dummy_data_param.data_filler
        if len(fillers) not in (0, 1, len(top)):
            raise self.error(
                f"data_filler is given {len(fillers)} times for {len(top)} tops",
                remedy="give data_filler once, once for each top, or not at all",
            )
        given = list(fillers) or [caffe_pb2.FillerParameter(type="constant")]
        self._fillers = given * len(top) if len(given) == 1 else given
        for index, blob in enumerate(top):
            blob.reshape(self._shape(index, len(top)))
            # What is filled at each forward has its filler checked here, on an empty blob, which draws no numbers.
            first = blob if self._fillers[index].type == "constant" else Blob((0,))
            fill(first, self._fillers[index], self.context.rng, layer=self.name)

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Nothing: shapes are fixed at setup."""

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        for blob, filler in zip(top, self._fillers, strict=True):
            if filler.type != "constant":
                fill(blob, filler, self.context.rng, layer=self.name)

    def _shape(self, index: int, num_top: int) -> tuple[int, ...]:
        param = self.param.dummy_data_param
        legacy = {
            "num": param.num,
            "channels": param.channels,
            "height": param.height,
            "width": param.width,
        }
        if not any(len(values) for values in legacy.values()):
            return tuple(self._of_top("shape", param.shape, index, num_top).dim)
        if param.shape:
            raise self.error(
                "shape and the legacy fields num, channels, height, width are both given",
                remedy="keep shape, remove the others",
            )
        return tuple(self._of_top(field, values, index, num_top) for field, values in legacy.items())

    def _of_top(self, field: str, values: Sequence[Value], index: int, num_top: int) -> Value:
        if len(values) not in (1, num_top):
            raise self.error(
                f"{field} is given {len(values)} times for {num_top} tops",
                remedy=f"give {field} once, or once for each top",
            )
        return values[0 if len(values) == 1 else index]
