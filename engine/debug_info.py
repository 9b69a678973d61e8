"""What a net with debug_info logs while it runs: the mean absolute value of every blob that a layer wrote.

The lines have Caffe's wording, so that scripts that read its logs read ours.

Source: Caffe, src/caffe/net.cpp (ForwardDebugInfo, BackwardDebugInfo, InputDebugInfo, Backward).
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from farlayer.engine.net import Net, Node

logger = logging.getLogger(__name__)


def log_inputs(net: Net) -> None:
    """Logs the inputs that the caller filled."""
    for name in net.inputs:
        logger.info("    [Forward] Input %s data: %g", name, mean_abs(net.blobs[name].data))


def log_forward(node: Node) -> None:
    """Logs the tops and params of a layer that just ran forward."""
    layer = node.layer
    for name, blob in zip(node.top_names, node.top, strict=True):
        logger.info("    [Forward] Layer %s, top blob %s data: %g", layer.name, name, mean_abs(blob.data))
    for index, blob in enumerate(layer.params):
        named = index < len(layer.param.param) and layer.param.param[index].name
        logger.info("    [Forward] Layer %s, param blob %s data: %g", layer.name, named or index, mean_abs(blob.data))


def log_backward(node: Node) -> None:
    """Logs the gradients that a layer just computed."""
    layer = node.layer
    for name, blob, wanted in zip(node.bottom_names, node.bottom, node.propagate_down, strict=True):
        if wanted:
            logger.info("    [Backward] Layer %s, bottom blob %s diff: %g", layer.name, name, mean_abs(blob.diff))
    for index, (blob, wanted) in enumerate(zip(layer.params, layer.param_propagate_down)):
        if wanted:
            logger.info("    [Backward] Layer %s, param blob %d diff: %g", layer.name, index, mean_abs(blob.diff))


def log_params(net: Net) -> None:
    """Logs the norms of all params together, after a whole backward pass."""
    data = [blob.data.reshape(-1) for blob in net.learnable_params]
    diff = [blob.diff.reshape(-1) for blob in net.learnable_params]
    logger.info(
        "    [Backward] All net params (data, diff): L1 norm = (%g, %g); L2 norm = (%g, %g)",
        *(sum(float(np.abs(array).sum()) for array in arrays) for arrays in (data, diff)),
        *(math.sqrt(sum(float(np.dot(array, array)) for array in arrays)) for arrays in (data, diff)),
    )


def mean_abs(array: NDArray[np.float32]) -> float:
    """The mean absolute value; 0 where there is no value."""
    return float(np.abs(array).mean()) if array.size else 0.0
