"""AdaDelta: gradients in units of their running size, times that of the updates."""

from __future__ import annotations

import numpy as np

from farlayer.engine.solvers.gradient_solver import Array, GradientSolver


class AdaDeltaSolver(GradientSolver):
    """Keeps running means of the squares of gradients (h) and of updates (u).

    h = momentum * h + (1 - momentum) * g ^ 2; s = g * sqrt((u + delta) / (h + delta));
    u = momentum * u + (1 - momentum) * s ^ 2; update = rate * s.

    Source: Caffe, src/caffe/solvers/adadelta_solver.cpp.
    """

    type_name = "AdaDelta"
    uses = frozenset({"delta", "momentum"})
    num_histories = 2

    def compute_update_value(self, diff: Array, history: list[Array], rate: np.float32) -> None:
        """See GradientSolver; history: h, u."""
        gradients, updates = history
        delta = self.param.delta
        term = self.scratch.array("term", diff.shape)
        self._average_square(gradients, diff, term)
        ratio = np.add(updates, delta, out=self.scratch.array("ratio", diff.shape))
        np.add(gradients, delta, out=term)
        np.divide(ratio, term, out=ratio)
        np.sqrt(ratio, out=ratio)
        np.multiply(diff, ratio, out=diff)
        self._average_square(updates, diff, term)
        np.multiply(diff, rate, out=diff)

    def _average_square(self, average: Array, values: Array, term: Array) -> None:
        momentum = self.param.momentum
        np.multiply(values, values, out=term)
        np.multiply(term, 1 - momentum, out=term)
        np.multiply(average, momentum, out=average)
        np.add(average, term, out=average)
