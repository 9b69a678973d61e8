"""What tests with several sets of kernels share."""

from collections.abc import Callable
from typing import TypeAlias

from farlayer.engine.layer import Layer

MakeLayer: TypeAlias = Callable[..., Layer]
