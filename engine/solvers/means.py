"""Means of a net's outputs over several passes."""

from __future__ import annotations

import numpy as np

from farlayer.engine.net import Net
from farlayer.protos.errors import NetError


class OutputMeans:
    """Sums the outputs of a net, pass by pass, in float64.

    Differs from Caffe: an output whose number of values changes between passes is an error, where Caffe adds up values
    that do not belong together, or reads beyond them.

    Source: Caffe, src/caffe/solver.cpp (Solver::Test).
    """

    def __init__(self) -> None:
        self._sums: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = {}
        self._passes = 0

    def add(self, net: Net) -> None:
        """Takes in the outputs that the last forward pass left in the net.

        Raises:
            NetError: an output has another number of values than in the passes before.
        """
        for name in net.outputs:
            values = net.blobs[name].data.ravel().astype(np.float64)
            total = self._sums.get(name)
            if total is None:
                self._sums[name] = values
            elif total.size != values.size:
                raise NetError(
                    f"net '{net.name}': no mean of output '{name}' can be taken: expected {total.size} values, as in "
                    f"the first pass, got {values.size} in pass {self._passes + 1}",
                    remedy=f"give '{name}' the same shape in every pass, or feed it to a layer that makes one number "
                    "of it",
                )
            else:
                np.add(total, values, out=total)
        self._passes += 1

    def means(self) -> dict[str, list[float]]:
        """The mean of each output, by its name; empty before the first pass."""
        return {name: (total / self._passes).tolist() for name, total in self._sums.items()}
