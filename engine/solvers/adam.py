"""Adam and AdamW: momentum in units of the gradients' running size."""

from __future__ import annotations

import math

import numpy as np

from farlayer.engine.solvers.gradient_solver import Array, GradientSolver, move_average


class AdamSolver(GradientSolver):
    """Keeps running means of gradients (m) and of their squares (v).

    m = momentum * m + (1 - momentum) * g; v = momentum2 * v + (1 - momentum2) * g ^ 2;
    update = rate * sqrt(1 - momentum2 ^ t) / (1 - momentum ^ t) * m / (sqrt(v) + delta), at the t-th update.

    Source: Caffe, src/caffe/solvers/adam_solver.cpp.
    Differs from Caffe: a momentum or momentum2 that is not in [0, 1) is refused, where Caffe divides by zero.
    """

    type_name = "Adam"
    uses = frozenset({"delta", "momentum", "momentum2"})
    fractions = frozenset({"momentum", "momentum2"})
    num_histories = 2

    def compute_update_value(self, diff: Array, history: list[Array], rate: np.float32) -> None:
        """See GradientSolver; history: m, v."""
        mean, square = history
        beta1, beta2, time = self.param.momentum, self.param.momentum2, self.iter + 1
        term = np.multiply(diff, diff, out=self.scratch.array("term", diff.shape))
        move_average(square, term, beta2)
        move_average(mean, diff, beta1)
        np.sqrt(square, out=term)
        np.add(term, self.param.delta, out=term)
        np.divide(mean, term, out=diff)
        correction = np.float32(math.sqrt(1 - beta2**time) / (1 - beta1**time))
        np.multiply(diff, rate * correction, out=diff)


class AdamWSolver(AdamSolver):
    """Adam, with the weight decay beside the gradient instead of in it: update = that of Adam + rate * decay.

    So the decay is not divided by the gradients' size. Not in Caffe.

    Source: "Decoupled weight decay regularization" (Loshchilov and Hutter, 2017), as most libraries have it: the decay
    is multiplied by the rate.
    """

    type_name = "AdamW"
    decouples_decay = True
