"""The common part of all solvers that Caffe has: what happens to a gradient before and after it becomes an update."""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from farlayer.blobs.blob import Blob
from farlayer.engine.layers.parts import slices
from farlayer.engine.scratch import Scratch
from farlayer.engine.solvers.solver import Solver

if TYPE_CHECKING:
    from farlayer.engine.param_sharing import LearnableParam

logger = logging.getLogger(__name__)

Array: TypeAlias = NDArray[np.float32]

PART_VALUES = 1 << 17
"""A param is updated in parts of so many values, half a MiB: all of an update's passes find them in the cache. For the
60 million params of CaffeNet this takes 0.6 times as long as passes over whole params."""


def move_average(average: Array, values: Array, fraction: float) -> None:
    """Sets a running mean to fraction * average + (1 - fraction) * values; what is in `values` afterwards is of no use.

    Args:
        average: the mean so far.
        values: what it moves towards.
        fraction: how much of the mean stays.
    """
    np.multiply(values, 1 - fraction, out=values)
    np.multiply(average, fraction, out=average)
    np.add(average, values, out=average)


class GradientSolver(Solver):
    """Makes updates of gradients, which lie in the diffs of the params, and takes them from the data of the params.

    Gradients are scaled down to the norm clip_gradients, that of all params together, where theirs is larger; then
    divided by iter_size; then weight decay is added: weight_decay * decay_mult * data ("L2"), or the same times the
    sign of data ("L1"). A subclass turns the result, g, into the update, with a rate of learning_rate * lr_mult. The
    diffs hold the updates afterwards.

    Source: Caffe, src/caffe/solvers/sgd_solver.cpp (ApplyUpdate).
    """

    num_histories: ClassVar[int] = 1
    """How many blobs are kept for each param."""
    decouples_decay: ClassVar[bool] = False
    """Whether weight decay, times the rate, is added to the update instead of the gradient."""

    @abstractmethod
    def compute_update_value(self, diff: Array, history: list[Array], rate: np.float32) -> None:
        """Turns a part of a param's gradient into its update.

        Args:
            diff: the gradient; becomes the update.
            history: the same part of each blob that is kept for the param; changed.
            rate: that of the param.
        """

    @cached_property
    def history(self) -> list[Blob]:
        """The first kept blob of each param, in the order of Net.learnable_params; then the second of each."""
        return [Blob(blob.shape) for _ in range(self.num_histories) for blob in self.net.learnable_params]

    @cached_property
    def scratch(self) -> Scratch:
        """Working memory kept between updates."""
        return Scratch()

    def apply_update(self, rate: float) -> None:
        """See Solver."""
        factor = np.float32(self._clip_factor() / self.param.iter_size)
        for index, learnable in enumerate(self.net.learnable):
            self._update_param(learnable, self.history[index :: len(self.net.learnable)], rate, factor)

    def _clip_factor(self) -> float:
        """What all gradients are multiplied by, so that their common norm is at most clip_gradients."""
        limit = self.param.clip_gradients
        if limit < 0:
            return 1.0
        flat = [blob.diff.reshape(-1) for blob in self.net.learnable_params]
        norm = math.sqrt(sum(float(np.dot(diff, diff)) for diff in flat))
        if not norm > limit:
            return 1.0
        logger.debug("gradients are scaled down: norm %g is above %g", norm, limit)
        return limit / norm

    def _update_param(self, learnable: LearnableParam, kept: list[Blob], rate: float, factor: np.float32) -> None:
        local_rate = np.float32(rate * (1.0 if learnable.lr_mult is None else learnable.lr_mult))
        decay_mult = 1.0 if learnable.decay_mult is None else learnable.decay_mult
        decay = np.float32(self.param.weight_decay * decay_mult)
        data, diff = learnable.blob.data.reshape(-1), learnable.blob.diff.reshape(-1)
        history = [blob.data.reshape(-1) for blob in kept]
        for part in slices(data.size, most=PART_VALUES):
            self._update_part(data[part], diff[part], [values[part] for values in history], local_rate, decay, factor)

    def _update_part(
        self, data: Array, diff: Array, history: list[Array], rate: np.float32, decay: np.float32, factor: np.float32
    ) -> None:
        if factor != 1:
            np.multiply(diff, factor, out=diff)
        if decay and not self.decouples_decay:
            np.add(diff, self._decay(data, decay), out=diff)
        self.compute_update_value(diff, history, rate)
        if decay and self.decouples_decay:
            np.add(diff, self._decay(data, rate * decay), out=diff)
        np.subtract(data, diff, out=data)

    def _decay(self, data: Array, factor: np.float32) -> Array:
        term = self.scratch.array("decay", data.shape)
        if self.param.regularization_type == "L1":
            np.sign(data, out=term)
            return np.multiply(term, factor, out=term)
        return np.multiply(data, factor, out=term)
