"""What Exp and Log share: a base, a scale and a shift."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from farlayer.engine.layer import Layer

NATURAL = -1.0
"""The base that stands for e."""


def log_of_base(layer: Layer, base: float, field: str) -> float:
    """The natural logarithm of a base.

    Args:
        layer: whose parameter it is, for the error.
        base: the base; NATURAL for e.
        field: what the parameter is called.

    Raises:
        NetError: the base has no finite logarithm.
    """
    if base == NATURAL:
        return 1.0
    if not 0 < base < math.inf:
        raise layer.error(f"{field} is {base:g}, expected more than 0 and finite", remedy="use -1 (the default) for e")
    return math.log(base)
