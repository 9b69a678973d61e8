"""Finds the class of a Python layer, and says where it looked when there is none."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from types import ModuleType

from farlayer.protos.errors import LayerLoadError
from farlayer.worker import caffe_alias
from farlayer.worker.layer import Layer


def load_class(module_name: str, type_name: str, *, layer: str) -> type[Layer]:
    """Imports `module_name` and returns its class `type_name`.

    Errors that the module's own code raises while it is imported are not caught.

    Args:
        layer: name of the layer in its net, for messages.

    Raises:
        LayerLoadError: no such module, no such class, or a class that does not derive from caffe.Layer.
    """
    caffe_alias.install()
    importlib.invalidate_caches()
    module = _load_module(module_name, layer)
    found: object = module
    for part in type_name.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise _no_class(module, type_name, layer)
    if not (isinstance(found, type) and issubclass(found, Layer)):
        raise LayerLoadError(
            f"layer '{layer}': '{module_name}.{type_name}' is {_kind_of(found)}, "
            "expected a class derived from caffe.Layer",
            remedy=f"write `class {type_name}(caffe.Layer):` in {_file_of(module)}",
            layer=layer,
        )
    return found


def _load_module(module_name: str, layer: str) -> ModuleType:
    if not module_name:
        raise LayerLoadError(
            f"layer '{layer}': its python_param names no module", remedy="set python_param.module", layer=layer
        )
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module_name != missing and not module_name.startswith(missing + "."):
            raise LayerLoadError(
                f"layer '{layer}': module '{module_name}' needs a module '{missing}' that is not installed in "
                f"the worker's environment ({sys.executable})",
                remedy=f"install it there, for instance with {sys.executable} -m pip install {missing.split('.')[0]}; "
                "a module of your own: add its folder with PYTHONPATH or --python-path",
                layer=layer,
            ) from error
        raise LayerLoadError(
            f"layer '{layer}': no module named '{missing}' in the worker (Python {sys.version.split()[0]}, "
            f"working directory {os.getcwd()}).\n  It looked in:\n"
            + "\n".join(f"    {entry}" for entry in dict.fromkeys(entry or os.getcwd() for entry in sys.path)),
            remedy="add the folder of the module with PYTHONPATH or --python-path",
            layer=layer,
        ) from error


def _no_class(module: ModuleType, type_name: str, layer: str) -> LayerLoadError:
    known = [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Layer) and value is not Layer
    ]
    close = difflib.get_close_matches(type_name, known, 1)
    return LayerLoadError(
        f"layer '{layer}': module '{module.__name__}' ({_file_of(module)}) has no class '{type_name}'; "
        f"its layers: {', '.join(known) or 'none'}",
        remedy=f"did you mean '{close[0]}'?" if close else "correct python_param.layer, or the module",
        layer=layer,
    )


def _kind_of(found: object) -> str:
    if isinstance(found, type):
        return f"a class with the bases {', '.join(base.__name__ for base in found.__mro__[1:])}"
    return f"a {type(found).__name__}"


def _file_of(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or f"module {module.__name__}"
