"""Packages that only some files need: imported at first use; where one is missing, the error names the extra."""

from __future__ import annotations

import importlib
import logging
from types import ModuleType

from farlayer.protos.errors import InputError

logger = logging.getLogger(__name__)

_EXTRAS = {
    "PIL.Image": ("Pillow", "image"),
    "PIL.ImageOps": ("Pillow", "image"),
    "cv2": ("opencv-python-headless", "opencv"),
    "h5py": ("h5py", "hdf5"),
    "lmdb": ("lmdb", "lmdb"),
    "plyvel": ("plyvel", "leveldb"),
}
"""By module: the package that has it, and the extra of farlayer that installs the package."""


def find(module: str) -> ModuleType | None:
    """Imports a module; None where that cannot be done."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        logger.debug("%s is not there: %s", module, error)
        return None


def need(module: str, purpose: str) -> ModuleType:
    """Imports a module.

    Args:
        module: one of those that an extra of farlayer installs.
        purpose: what it is for, as the subject of a sentence: "reading HDF5 files".

    Raises:
        InputError: it cannot be imported; names the extra.
    """
    package, extra = _EXTRAS[module]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{purpose} needs the package {package}, which cannot be imported: {error}", remedy=install(extra)
        ) from error


def install(extra: str) -> str:
    """The command that adds an extra."""
    return f"python -m pip install 'farlayer[{extra}]'"
