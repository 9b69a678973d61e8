"""The drop-in for `import caffe`: a thin facade with no logic of its own.

In a worker, `import caffe` gives this package: what a layer file needs to run. The rest of pycaffe (Net, solvers, io,
...) comes with a later version; asking for it says so.
"""

from __future__ import annotations

import importlib
import logging
from typing import NoReturn

from farlayer.worker.layer import TEST, TRAIN, Layer

__all__ = ["TEST", "TRAIN", "Layer", "log", "proto"]

_logger = logging.getLogger("caffe")
_LAZY_MODULES = ("proto",)


def log(message: str) -> None:
    """Writes a line to the log at level INFO, as Caffe's LOG(INFO)."""
    _logger.info("%s", message)


def __getattr__(name: str) -> object:
    if name in _LAZY_MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    return _refuse(name)


def _refuse(name: str) -> NoReturn:
    raise AttributeError(
        f"module 'caffe' (farlayer.pycaffe) has no attribute '{name}': a worker offers {', '.join(__all__)}"
    )
