"""The drop-in for `import caffe`: a thin facade with no logic of its own.

In a worker, `import caffe` gives this package: what a layer file needs to run, and NetSpec (`from caffe import layers
as L, params as P`). The rest of pycaffe (Net, solvers, io, ...) comes with a later version; asking for it says so.
"""

from __future__ import annotations

import importlib
import logging
from typing import NoReturn

from farlayer.worker.layer import TEST, TRAIN, Layer

__all__ = ["TEST", "TRAIN", "Layer", "NetSpec", "layers", "log", "net_spec", "params", "proto", "to_proto"]

_logger = logging.getLogger("caffe")
_LAZY_MODULES = ("net_spec", "proto")
_OF_NET_SPEC = ("NetSpec", "layers", "params", "to_proto")


def log(message: str) -> None:
    """Writes a line to the log at level INFO, as Caffe's LOG(INFO)."""
    _logger.info("%s", message)


def __getattr__(name: str) -> object:
    if name in _LAZY_MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _OF_NET_SPEC:
        return getattr(importlib.import_module(f"{__name__}.net_spec"), name)
    return _refuse(name)


def _refuse(name: str) -> NoReturn:
    raise AttributeError(
        f"module 'caffe' (farlayer.pycaffe) has no attribute '{name}': a worker offers {', '.join(__all__)}"
    )
