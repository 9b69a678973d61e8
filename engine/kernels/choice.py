"""The choice of kernels: NumPy's, which are the layers' own code, or those of an optional package."""

from __future__ import annotations

import importlib.util
import logging
from typing import TYPE_CHECKING, Protocol

from farlayer.protos.errors import NetError

if TYPE_CHECKING:
    from farlayer.engine.layer import Layer

logger = logging.getLogger(__name__)

KERNELS = ("auto", "numpy", "torch")
"""What `choose_kernels` knows. auto: torch where it is installed, else numpy."""


class Kernels(Protocol):
    """A set of kernels: layer classes that compute what others do in another way."""

    name: str

    def layer_class(self, layer_class: type[Layer]) -> type[Layer]:
        """The class to use for a layer: the given one, or one derived from it that has other kernels."""


class NumpyKernels:
    """The layers' own code."""

    name = "numpy"

    def layer_class(self, layer_class: type[Layer]) -> type[Layer]:
        """See Kernels."""
        return layer_class


NUMPY = NumpyKernels()


def choose_kernels(name: str) -> Kernels:
    """Finds kernels by name, one of KERNELS.

    Raises:
        NetError: there is no such name, or what it needs is not installed.
    """
    if name not in KERNELS:
        raise NetError(f"unknown kernels '{name}'; known: {', '.join(KERNELS)}", remedy="choose one of these")
    if name == "numpy" or (name == "auto" and importlib.util.find_spec("torch") is None):
        return NUMPY
    try:
        from farlayer.engine.kernels.torch_kernels import TorchKernels
    except ImportError as error:
        if name == "auto":
            logger.warning("PyTorch cannot be imported, so NumPy does the arithmetic: %s", error)
            return NUMPY
        raise NetError(
            f"the torch kernels need PyTorch, which cannot be imported: {error}",
            remedy="pip install 'farlayer[torch]', or choose the numpy kernels",
        ) from error
    return TorchKernels()
