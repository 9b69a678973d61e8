"""Losses of boxes, one number a box, with what their gradients need.

Source: weiliu89/caffe (branch ssd), src/caffe/util/bbox_util.cpp (ComputeLocLoss, ComputeConfLoss).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from farlayer.engine.layers.common.softmax import softmax
from farlayer.engine.layers.detection.boxes import Array, Indices
from farlayer.engine.layers.neuron.bnll import softplus
from farlayer.engine.layers.neuron.sigmoid import sigmoid
from farlayer.engine.scratch import Scratch

_SMALLEST = np.finfo(np.float32).tiny  # the log of a probability of 0 is that of FLT_MIN, as in Caffe


class Targets(NamedTuple):
    """Where scores should be 1, and not 0: pairs of a row and a class."""

    rows: Indices
    classes: Indices


def l2_losses(error: Array) -> Array:
    """Gives half the squared length of each row of (M, 4)."""
    loss: Array = np.sum(error * error, axis=1)
    loss /= 2
    return loss


def l2_gradient(error: Array) -> Array:
    """Gives the derivative of `l2_losses`."""
    return error


def smooth_l1_losses(error: Array) -> Array:
    """Gives the sum over each row of (M, 4) of e^2 / 2 where |e| < 1, and of |e| - 1/2 elsewhere."""
    size = np.abs(error)
    loss: Array = np.sum(np.where(size < 1, error * error / 2, size - 0.5), axis=1)
    return loss


def smooth_l1_gradient(error: Array) -> Array:
    """Gives the derivative of `smooth_l1_losses`."""
    return np.clip(error, -1, 1)


def softmax_losses(scores: Array, targets: Targets, prob: Array, workspace: Scratch) -> Array:
    """Gives -log of the probability of each row's target.

    Args:
        scores: shape (K, C).
        targets: exactly one a row, in the order of rows.
        prob: for the softmax of the scores; less 1 at the targets it is the gradient.
        workspace: for sums.
    """
    softmax(scores[:, :, None], prob[:, :, None], workspace)
    loss: Array = prob[targets.rows, targets.classes]
    np.maximum(loss, _SMALLEST, out=loss)
    np.log(loss, out=loss)
    return np.negative(loss, out=loss)


def logistic_losses(scores: Array, targets: Targets, prob: Array, workspace: Scratch) -> Array:
    """Gives the sum over each row's classes of -log of the probability of the target, be it 1 or 0.

    Args:
        scores: shape (K, C).
        targets: any number a row.
        prob: for the sigmoid of the scores; less 1 at the targets it is the gradient.
        workspace: for intermediate results.
    """
    softplus(scores, prob, workspace)  # the loss for a target t: log(1 + exp(x)) - t x
    loss: Array = np.sum(prob, axis=1)
    np.subtract.at(loss, targets.rows, scores[targets.rows, targets.classes])
    sigmoid(scores, prob)
    return loss
