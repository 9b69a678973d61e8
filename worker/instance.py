"""One layer's life: setup, reshape, forward, backward of a user's object, on Blobs."""

from __future__ import annotations

from typing import List, NoReturn, Sequence

from farlayer.blobs.blob import Blob
from farlayer.blobs.segment import Allocator
from farlayer.protos.errors import ValueCrossingError
from farlayer.worker.layer import Layer, Phase


class _FixedList(List[Blob]):
    """The bottoms or tops of a layer. A blob that took the place of another would be lost without a word."""

    def __setitem__(self, index: object, value: object) -> NoReturn:
        raise TypeError("a layer's blobs cannot be replaced: write into them, as in top[0].data[...] = value")


class Instance:
    """A user's layer object with its bottoms and tops. Knows nothing of messages or processes.

    What user code raises passes through unchanged.

    Attributes:
        bottom: the blobs that the layer reads; the same objects for the life of the layer.
        top: the blobs that it fills; a blob may be both (in place).
    """

    def __init__(self, layer: Layer, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.layer = layer
        self.bottom = _FixedList(bottom)
        self.top = _FixedList(top)

    @classmethod
    def make(
        cls,
        kind: type[Layer],
        bottom: Sequence[Blob],
        top: Sequence[Blob],
        *,
        layer_param: object,
        param_str: str,
        phase: Phase,
        allocate: Allocator,
    ) -> Instance:
        """Makes the user's object and gives it what Caffe gives it before setup.

        Args:
            layer_param: the LayerParameter, handed to the constructor as Caffe does.
            allocate: memory of the params that the layer adds.

        Source: Caffe, include/caffe/layers/python_layer.hpp, LayerSetUp.
        """
        layer = kind(layer_param)
        layer.param_str = param_str
        layer.phase = phase
        layer.blobs.allocate = allocate
        return cls(layer, bottom, top)

    @property
    def params(self) -> list[Blob]:
        """The blobs that the layer added."""
        return list(self.layer.blobs)

    def setup(self) -> None:
        """Runs the user's setup, once."""
        self.layer.setup(self.bottom, self.top)  # type: ignore[attr-defined]  # the user's method

    def reshape(self) -> None:
        """Runs the user's reshape."""
        self.layer.reshape(self.bottom, self.top)  # type: ignore[attr-defined]

    def forward(self) -> None:
        """Runs the user's forward. Callers run reshape first."""
        self.layer.forward(self.bottom, self.top)  # type: ignore[attr-defined]

    def backward(self, propagate_down: Sequence[bool]) -> None:
        """Runs the user's backward."""
        self.layer.backward(self.top, list(propagate_down), self.bottom)  # type: ignore[attr-defined]

    def invoke(self, method: str, args: Sequence[object], kwargs: dict[str, object]) -> object:
        """Calls any method of the user's object."""
        return self._reach(method)(*args, **kwargs)  # type: ignore[operator]  # whatever the user's object says

    def exchange_state(self, assign: dict[str, object], read: Sequence[str]) -> dict[str, object]:
        """Sets attributes of the user's object, then reads some.

        Args:
            assign: new values by name; dots reach into attributes of attributes.
            read: names of attributes.
        """
        for name, value in assign.items():
            owner, _, attribute = name.rpartition(".")
            _check_reachable(attribute, name)
            setattr(self._reach(owner), attribute, value)
        return {name: self._reach(name) for name in read}

    def _reach(self, name: str) -> object:
        found: object = self.layer
        for part in name.split(".") if name else ():
            _check_reachable(part, name)
            found = getattr(found, part)
        return found


def _check_reachable(part: str, name: str) -> None:
    if part.startswith("__"):
        raise ValueCrossingError(f"attribute '{name}' cannot be reached from outside", remedy="use a method")
