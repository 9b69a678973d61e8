"""SGD: stochastic gradient descent with momentum."""

from __future__ import annotations

import numpy as np

from farlayer.engine.solvers.gradient_solver import Array, GradientSolver


class SGDSolver(GradientSolver):
    """v = momentum * v + rate * g; update = v.

    Source: Caffe, src/caffe/solvers/sgd_solver.cpp.
    """

    type_name = "SGD"
    uses = frozenset({"momentum"})

    def compute_update_value(self, diff: Array, history: list[Array], rate: np.float32) -> None:
        """See GradientSolver; history: v."""
        (velocity,) = history
        np.multiply(velocity, self.param.momentum, out=velocity)
        np.multiply(diff, rate, out=diff)
        np.add(velocity, diff, out=velocity)
        np.copyto(diff, velocity)
