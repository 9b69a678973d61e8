"""Which class implements which layer type.

Another package supplies native layers by an entry point of the group `farlayer.layers`, the layer type as its name and
a class derived from `farlayer.engine.layer.Layer` as its object; in pyproject.toml:

    [project.entry-points."farlayer.layers"]
    MyPooling = "my_package.pooling:MyPoolingLayer"
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, TypeVar

from farlayer.engine.layer import Layer, LayerContext
from farlayer.protos.errors import NetError

if TYPE_CHECKING:
    from farlayer.protos import caffe_pb2

ENTRY_POINT_GROUP = "farlayer.layers"
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
    """The layer types that can be built, sorted: built-in ones and those of entry points."""
    _load_builtin_layers()
    return sorted({*_LAYER_CLASSES, *_supplied()})


def layer_class(type_name: str, *, layer: str = "") -> type[Layer]:
    """Looks a layer type up.

    Args:
        type_name: the type as a prototxt says it.
        layer: name of the layer that wants it, for the error.

    Raises:
        NetError: no such type, or an entry point that supplies it cannot be loaded or is no Layer.
    """
    _load_builtin_layers()
    found = _LAYER_CLASSES.get(type_name)
    if found is not None:
        return found
    if type_name in _supplied():
        return _load_supplied(_supplied()[type_name], layer)
    close = _closest(type_name)
    guess = f"did you mean '{close}'? Otherwise " if close else ""
    whose = f"layer '{layer}' has " if layer else ""
    fault = f"the unknown type '{type_name}'" if type_name else "no type"
    raise NetError(
        f"{whose}{fault}; known types: {', '.join(known_types())}",
        remedy=f'{guess}supply the layer as a Python layer: type: "Python" with python_param {{ module layer }}'
        if type_name
        else 'write one, type: "Convolution"',
        layer=layer,
    )


def create_layer(param: caffe_pb2.LayerParameter, context: LayerContext) -> Layer:
    """Makes the layer that a LayerParameter describes, with the kernels of the context; it is not set up yet.

    Raises:
        NetError: its type is unknown.
    """
    return context.kernels.layer_class(layer_class(param.type, layer=param.name))(param, context)


def _closest(type_name: str) -> str:
    """The known type that is written most like a name, in letters of either case; "" where none is like it."""
    known = {name.lower(): name for name in known_types()}
    close = difflib.get_close_matches(type_name.lower(), known, n=1)
    return known[close[0]] if close else ""


@cache
def _supplied() -> dict[str, EntryPoint]:
    """The entry points of other packages, by layer type. A built-in type cannot be replaced."""
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}


def _load_supplied(entry: EntryPoint, layer: str) -> type[Layer]:
    try:
        loaded = entry.load()
    except (ImportError, AttributeError) as error:
        raise NetError(
            f"layer '{layer}': type '{entry.name}' is supplied by the entry point '{entry.value}', which cannot be "
            f"loaded: {error}",
            remedy="install what the package needs, or correct its entry point",
            layer=layer,
        ) from error
    if not (isinstance(loaded, type) and issubclass(loaded, Layer)):
        raise NetError(
            f"layer '{layer}': type '{entry.name}' is supplied by the entry point '{entry.value}', which is no class "
            "derived from farlayer.engine.layer.Layer",
            remedy="correct the entry point",
            layer=layer,
        )
    return register(entry.name)(loaded)


def _load_builtin_layers() -> None:
    # At call time, since those modules import this one.
    importlib.import_module("farlayer.engine.layers")
