"""Nesterov: gradient descent with Nesterov's momentum."""

from __future__ import annotations

import numpy as np

from farlayer.engine.solvers.gradient_solver import Array, GradientSolver


class NesterovSolver(GradientSolver):
    """w = momentum * v + rate * g; update = (1 + momentum) * w - momentum * v; v = w.

    Source: Caffe, src/caffe/solvers/nesterov_solver.cpp.
    """

    type_name = "Nesterov"
    uses = frozenset({"momentum"})

    def compute_update_value(self, diff: Array, history: list[Array], rate: np.float32) -> None:
        """See GradientSolver; history: v."""
        (velocity,) = history
        momentum = self.param.momentum
        np.multiply(diff, rate, out=diff)
        step_back = np.multiply(velocity, momentum, out=self.scratch.array("term", diff.shape))
        np.add(step_back, diff, out=velocity)
        np.multiply(velocity, 1 + momentum, out=diff)
        np.subtract(diff, step_back, out=diff)
