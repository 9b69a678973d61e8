"""Which class implements which layer type."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from farlayer.engine.layer import Layer, LayerContext
from farlayer.protos.errors import NetError

if TYPE_CHECKING:
    from farlayer.protos import caffe_pb2

_LAYER_CLASSES: dict[str, type[Layer]] = {}
LayerClass = TypeVar("LayerClass", bound=type[Layer])


def register(type_name: str) -> Callable[[LayerClass], LayerClass]:
    """Makes a class the implementation of the layer type `type_name`.

    Raises:
        ValueError: the type has another class already.
    """

    def add(layer_class: LayerClass) -> LayerClass:
        known = _LAYER_CLASSES.setdefault(type_name, layer_class)
        if known is not layer_class:
            raise ValueError(f"layer type {type_name!r} is {known.__qualname__} already")
        layer_class.type_name = type_name
        return layer_class

    return add


def known_types() -> list[str]:
    """The layer types that can be built, sorted."""
    _load_builtin_layers()
    return sorted(_LAYER_CLASSES)


def layer_class(type_name: str, *, layer: str = "") -> type[Layer]:
    """Looks a layer type up.

    Args:
        type_name: the type as a prototxt says it.
        layer: name of the layer that wants it, for the error.

    Raises:
        NetError: no such type.
    """
    _load_builtin_layers()
    found = _LAYER_CLASSES.get(type_name)
    if found is not None:
        return found
    close = difflib.get_close_matches(type_name, _LAYER_CLASSES, n=1)
    guess = f"did you mean '{close[0]}'? Otherwise " if close else ""
    raise NetError(
        f"layer '{layer}' has the unknown type '{type_name}'; known types: {', '.join(known_types())}",
        remedy=f'{guess}supply the layer as a Python layer: type: "Python" with python_param {{ module layer }}',
        layer=layer,
    )


def create_layer(param: caffe_pb2.LayerParameter, context: LayerContext) -> Layer:
    """Makes the layer that a LayerParameter describes; it is not set up yet.

    Raises:
        NetError: its type is unknown.
    """
    return layer_class(param.type, layer=param.name)(param, context)


def _load_builtin_layers() -> None:
    # At call time, since those modules import this one.
    importlib.import_module("farlayer.engine.layers")
