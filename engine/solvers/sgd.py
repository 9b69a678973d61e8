"""SGD: stochastic gradient descent with momentum, weight decay and gradient clipping."""

from __future__ import annotations

import logging
import math

import numpy as np

from farlayer.blobs.blob import Blob
from farlayer.engine.scratch import Scratch
from farlayer.engine.solvers.solver import Solver

logger = logging.getLogger(__name__)


class SGDSolver(Solver):
    """v = momentum * v + rate * lr_mult * (gradient + decay); data = data - v.

    The gradient is clipped to the norm clip_gradients (all params together), then divided by iter_size, then decayed:
    L2 adds weight_decay * decay_mult * data, L1 the same times the sign of data.

    Source: Caffe, src/caffe/solvers/sgd_solver.cpp.
    """

    type_name = "SGD"
    _history: list[Blob] | None = None
    _scratch: Scratch | None = None

    @property
    def history(self) -> list[Blob]:
        """Velocity of each param, in the order of Net.learnable_params."""
        if self._history is None:
            self._history = [Blob(blob.shape) for blob in self.net.learnable_params]
        return self._history

    def compute_update(self, rate: float) -> None:
        """Clips, normalizes, decays and accelerates the gradients."""
        self.clip_gradients()
        for index in range(len(self.net.learnable)):
            self.normalize(index)
            self.regularize(index)
            self.compute_update_value(index, rate)

    def clip_gradients(self) -> None:
        """Scales all gradients down where their common norm is above clip_gradients."""
        limit = self.param.clip_gradients
        if limit < 0:
            return
        flat = [blob.diff.reshape(-1) for blob in self.net.learnable_params]
        norm = math.sqrt(sum(float(np.dot(diff, diff)) for diff in flat))
        if norm > limit:
            logger.debug("gradients are scaled down: norm %g is above %g", norm, limit)
            for diff in flat:
                np.multiply(diff, np.float32(limit / norm), out=diff)

    def normalize(self, index: int) -> None:
        """Divides a gradient by the number of passes that it was summed over."""
        if self.param.iter_size > 1:
            diff = self.net.learnable[index].blob.diff
            diff *= np.float32(1.0 / self.param.iter_size)

    def regularize(self, index: int) -> None:
        """Adds the weight decay to a gradient."""
        learnable = self.net.learnable[index]
        decay_mult = 1.0 if learnable.decay_mult is None else learnable.decay_mult
        decay = np.float32(self.param.weight_decay * decay_mult)
        if not decay:
            return
        blob = learnable.blob
        term = self.scratch.array("term", blob.shape)
        if self.param.regularization_type == "L1":
            np.sign(blob.data, out=term)
            np.multiply(term, decay, out=term)
        else:
            np.multiply(blob.data, decay, out=term)
        np.add(blob.diff, term, out=blob.diff)

    def compute_update_value(self, index: int, rate: float) -> None:
        """Turns a gradient into the update, and keeps it in the history."""
        learnable = self.net.learnable[index]
        lr_mult = 1.0 if learnable.lr_mult is None else learnable.lr_mult
        diff = learnable.blob.diff
        velocity = self.history[index].data
        np.multiply(velocity, np.float32(self.param.momentum), out=velocity)
        np.multiply(diff, np.float32(rate * lr_mult), out=diff)
        np.add(velocity, diff, out=velocity)
        diff[...] = velocity

    @property
    def scratch(self) -> Scratch:
        """Working memory kept between updates."""
        if self._scratch is None:
            self._scratch = Scratch()
        return self._scratch
