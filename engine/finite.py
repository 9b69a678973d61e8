"""The search for the first value of a net that is not a finite number."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from farlayer.protos.errors import NotFiniteError

if TYPE_CHECKING:
    from farlayer.engine.net import Net


def check_finite_loss(net: Net, loss: float) -> None:
    """Does nothing for a finite loss; for another, finds where it came from.

    Raises:
        NotFiniteError: names the first layer, in the order of forward, with a NaN or infinity in its tops, else the
            first with one in its params.
    """
    if math.isfinite(loss):
        return
    where = find_not_finite(net)
    if where is None:
        raise NotFiniteError(
            f"the loss is {loss}, though every blob and param is finite: it overflowed when it was summed",
            remedy="use smaller loss weights or a smaller base_lr",
        )
    layer, what = where
    raise NotFiniteError(
        f"the loss is {loss}; the first value that is not finite is in {what}",
        remedy="lower base_lr, set clip_gradients, or check the layer's code and input for divisions and logs",
        layer=layer,
    )


def find_not_finite(net: Net) -> tuple[str, str] | None:
    """Looks for a NaN or infinity after a forward pass.

    Returns:
        The layer's name and a description of the place; None where all is finite. An in-place chain has one blob, so
        the first layer of the chain is named.
    """
    for node in net.nodes:
        for name, blob in zip(node.top_names, node.top, strict=True):
            if not np.isfinite(blob.data).all():
                return node.layer.name, f"top '{name}' of layer '{node.layer.name}' ({node.layer.type_name})"
    for node in net.nodes:
        for index, blob in enumerate(node.layer.params):
            if not np.isfinite(blob.data).all():
                return node.layer.name, f"param {index} of layer '{node.layer.name}' ({node.layer.type_name})"
    return None
