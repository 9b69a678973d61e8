"""AdaDelta: gradients in units of their running size, times that of the updates."""

from __future__ import annotations

import numpy as np

from farlayer.engine.solvers.gradient_solver import Array, GradientSolver, move_average


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
        momentum, delta = self.param.momentum, self.param.delta
        term = np.multiply(diff, diff, out=self.scratch.array("term", diff.shape))
        move_average(gradients, term, momentum)
        ratio = np.add(updates, delta, out=self.scratch.array("ratio", diff.shape))
        np.add(gradients, delta, out=term)
        np.divide(ratio, term, out=ratio)
        np.sqrt(ratio, out=ratio)
        np.multiply(diff, ratio, out=diff)
        np.multiply(diff, diff, out=term)
        move_average(updates, term, momentum)
        np.multiply(diff, rate, out=diff)
