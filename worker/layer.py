"""What a user's Python layer derives from: `caffe.Layer` in a worker."""

from __future__ import annotations

import enum
from typing import Iterator

from farlayer.blobs.blob import Blob
from farlayer.blobs.segment import Allocator, heap


class Phase(enum.IntEnum):
    """What a net is run for. An int, as in Caffe, that prints as its name."""

    TRAIN = 0
    TEST = 1

    def __str__(self) -> str:
        return self.name


TRAIN = Phase.TRAIN
TEST = Phase.TEST


class BlobVec:
    """The params of a layer: blobs that the layer adds in setup and the solver updates."""

    def __init__(self, allocate: Allocator = heap) -> None:
        self.allocate = allocate
        self._blobs: list[Blob] = []

    def add_blob(self, *shape: int) -> Blob:
        """Adds a param of this shape, zeroed.

        Differs from Caffe: returns the new blob (Caffe returns nothing), so that it can be filled at once.
        """
        blob = Blob(shape, allocate=self.allocate)
        self._blobs.append(blob)
        return blob

    def __len__(self) -> int:
        return len(self._blobs)

    def __getitem__(self, index: int) -> Blob:
        return self._blobs[index]

    def __iter__(self) -> Iterator[Blob]:
        return iter(self._blobs)


class Layer:
    """Base of user layers. A layer overrides setup, reshape, forward and, where gradients are needed, backward.

        setup(bottom, top): once, before the first reshape; bottoms have their shapes, tops may have none.
        reshape(bottom, top): before every forward; gives the tops their shapes.
        forward(bottom, top): fills the tops' data.
        backward(top, propagate_down, bottom): fills the diffs of those bottoms whose flag is set, and of the params.

    All four get sequences of Blobs that stay the same objects for the life of the layer.

    Attributes:
        param_str: python_param.param_str of the prototxt; set before setup, not yet in __init__.
        phase: TRAIN or TEST; set before setup.
        blobs: the params.

    Source: Caffe, include/caffe/layers/python_layer.hpp.
    """

    param_str: str = ""
    phase: Phase = TRAIN
    blobs: BlobVec

    def __new__(cls, *args: object, **kwargs: object) -> Layer:
        """Gives every instance its own params, also where a subclass forgets super().__init__."""
        layer = super().__new__(cls)
        layer.blobs = BlobVec()
        return layer

    def __init__(self, layer_param: object = None, *args: object, **kwargs: object) -> None:
        """Takes the LayerParameter that Caffe passes, for subclasses that pass it on."""

    @property
    def param_str_(self) -> str:
        """The name that param_str had in early Caffe."""
        return self.param_str

    @property
    def type(self) -> str:
        """The layer's type in the prototxt."""
        return "Python"
