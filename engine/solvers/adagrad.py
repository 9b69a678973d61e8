"""AdaGrad: each value's rate falls with the squares of all its gradients so far."""

from __future__ import annotations

import numpy as np

from farlayer.engine.solvers.gradient_solver import Array, GradientSolver


class AdaGradSolver(GradientSolver):
    """h = h + g ^ 2; update = rate * g / (sqrt(h) + delta).

    Source: Caffe, src/caffe/solvers/adagrad_solver.cpp.
    """

    type_name = "AdaGrad"
    uses = frozenset({"delta"})

    def compute_update_value(self, diff: Array, history: list[Array], rate: np.float32) -> None:
        """See GradientSolver; history: h."""
        (squares,) = history
        term = np.multiply(diff, diff, out=self.scratch.array("term", diff.shape))
        np.add(squares, term, out=squares)
        np.sqrt(squares, out=term)
        np.add(term, self.param.delta, out=term)
        np.divide(diff, term, out=diff)
        np.multiply(diff, rate, out=diff)
