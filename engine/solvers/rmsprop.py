"""RMSProp: gradients in units of their own running size."""

from __future__ import annotations

import numpy as np

from farlayer.engine.solvers.gradient_solver import Array, GradientSolver, move_average


class RMSPropSolver(GradientSolver):
    """h = rms_decay * h + (1 - rms_decay) * g ^ 2; update = rate * g / (sqrt(h) + delta).

    Source: Caffe, src/caffe/solvers/rmsprop_solver.cpp.
    """

    type_name = "RMSProp"
    uses = frozenset({"delta", "rms_decay"})
    fractions = frozenset({"rms_decay"})

    def compute_update_value(self, diff: Array, history: list[Array], rate: np.float32) -> None:
        """See GradientSolver; history: h."""
        (squares,) = history
        term = np.multiply(diff, diff, out=self.scratch.array("term", diff.shape))
        move_average(squares, term, self.param.rms_decay)
        np.sqrt(squares, out=term)
        np.add(term, self.param.delta, out=term)
        np.divide(diff, term, out=diff)
        np.multiply(diff, rate, out=diff)
