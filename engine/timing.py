"""Times the layers of a net one by one."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from farlayer.engine.net import Net, Node


@dataclass(frozen=True)
class LayerTimes:
    """What the passes of one layer took, in the order of the passes.

    Attributes:
        name, type_name: of the layer.
        forward_s, backward_s: seconds; backward is 0 where it has nothing to do.
    """

    name: str
    type_name: str
    forward_s: list[float] = field(default_factory=list)
    backward_s: list[float] = field(default_factory=list)


class NetTimer:
    """Runs a net forward and backward, and keeps what each layer and each pass took.

    Backward runs a layer that some loss depends on, and in a net without a loss (one for deployment) each layer that
    learns, for its params alone: what `caffe time` measures there. Diffs of params are cleared before each pass,
    untimed.

    Attributes:
        layers: one entry a layer, in the order of forward.
        forward_s, backward_s: seconds of each whole pass.

    Source: Caffe, tools/caffe.cpp (time).
    """

    def __init__(self, net: Net) -> None:
        self._net = net
        self.layers = [LayerTimes(node.layer.name, node.layer.type_name) for node in net.nodes]
        self.forward_s: list[float] = []
        self.backward_s: list[float] = []

    def warm_up(self) -> None:
        """Runs both passes once without keeping what they take: memory is taken then."""
        self._net.clear_param_diffs()
        for node in self._net.nodes:
            node.layer.run_forward(node.bottom, node.top)
        for node in reversed(self._net.nodes):
            _run_backward(node)

    def run(self) -> None:
        """Runs both passes once."""
        self._net.clear_param_diffs()
        timed = list(zip(self._net.nodes, self.layers, strict=True))
        before = began = time.perf_counter()
        for node, times in timed:
            node.layer.run_forward(node.bottom, node.top)
            now = time.perf_counter()
            times.forward_s.append(now - before)
            before = now
        self.forward_s.append(before - began)
        before = began = time.perf_counter()
        for node, times in reversed(timed):
            _run_backward(node)
            now = time.perf_counter()
            times.backward_s.append(now - before)
            before = now
        self.backward_s.append(before - began)


def _run_backward(node: Node) -> None:
    if node.needs_backward or any(node.layer.param_propagate_down):
        node.layer.run_backward(node.top, node.propagate_down, node.bottom)
