"""Net: layers in order over named blobs, run forward and backward. It is built by `net_builder.build_net`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

from farlayer.blobs.blob import Blob
from farlayer.engine.finite import check_finite_loss
from farlayer.engine.layer import Layer
from farlayer.engine.layers.python.python import PythonLayer
from farlayer.engine.param_sharing import LearnableParam
from farlayer.protos.errors import BlobError, NetError

if TYPE_CHECKING:
    from farlayer.client.session import LayerSession
    from farlayer.protos import caffe_pb2

logger = logging.getLogger(__name__)


@dataclass
class Node:
    """One layer with the blobs that it is wired to, and what backward does in it.

    Attributes:
        layer: the layer.
        bottom_names, bottom: the blobs that it reads, by name and as such.
        top_names, top: the blobs that it makes; the blob of an in-place layer is among both.
        needs_backward: whether backward runs it.
        propagate_down: for each bottom, whether it gets a gradient.
    """

    layer: Layer
    bottom_names: list[str]
    top_names: list[str]
    bottom: list[Blob]
    top: list[Blob]
    needs_backward: bool = False
    propagate_down: list[bool] = field(default_factory=list)


class Net:
    """A net that is ready to run. It owns its blobs; close it (or use `with`) to end the sessions of Python layers.

    Attributes:
        name: as the definition says.
        phase: TRAIN or TEST.
        nodes: the layers with their wiring, in the order of forward.
        blobs: every blob that has a name, in the order in which they are made.
        inputs: names of the tops of Input layers.
        outputs: names of the blobs that no layer reads, sorted, as Caffe does.
        learnable: the distinct params with their multipliers.
        check_finite: whether forward looks for the origin of a loss that is not finite.
        debug_info: whether passes log the mean absolute value of every blob that they write.
    """

    def __init__(
        self,
        name: str,
        phase: caffe_pb2.Phase.ValueType,
        nodes: Sequence[Node],
        blobs: dict[str, Blob],
        outputs: Sequence[str],
        learnable: Sequence[LearnableParam],
        *,
        check_finite: bool = False,
        debug_info: bool = False,
    ) -> None:
        self.name = name
        self.phase = phase
        self.nodes = list(nodes)
        self.blobs = blobs
        self.inputs = [top for node in nodes if node.layer.type_name == "Input" for top in node.top_names]
        self.outputs = list(outputs)
        self.learnable = list(learnable)
        self.check_finite = check_finite
        self.debug_info = debug_info

    @property
    def layers(self) -> list[Layer]:
        """The layers in the order of forward, Splits included."""
        return [node.layer for node in self.nodes]

    @property
    def layer_names(self) -> list[str]:
        """Their names."""
        return [node.layer.name for node in self.nodes]

    @property
    def learnable_params(self) -> list[Blob]:
        """The distinct params, as solvers update them and as their history is ordered."""
        return [param.blob for param in self.learnable]

    @property
    def python_sessions(self) -> list[LayerSession]:
        """The sessions of the Python layers, in the order of forward."""
        return [node.layer.session for node in self.nodes if isinstance(node.layer, PythonLayer)]

    def forward(self) -> float:
        """Runs every layer and returns the loss: the weighted sum of all tops that are losses.

        Raises:
            NotFiniteError: the loss is not finite, and check_finite is set.
        """
        loss = 0.0
        for node in self.nodes:
            try:
                loss += node.layer.run_forward(node.bottom, node.top)
            except BlobError as error:
                error.layer = error.layer or node.layer.name
                raise
        if self.check_finite:
            check_finite_loss(self, loss)
        return loss

    def backward(self) -> None:
        """Runs backward, last layer first: sets the diffs of blobs that need one, adds to those of params."""
        for node in reversed(self.nodes):
            if not node.needs_backward:
                continue
            try:
                node.layer.run_backward(node.top, node.propagate_down, node.bottom)
            except BlobError as error:
                error.layer = error.layer or node.layer.name
                raise

    def reshape(self) -> None:
        """Shapes all blobs after the present shapes of the inputs, without computing anything."""
        for node in self.nodes:
            node.layer.reshape(node.bottom, node.top)

    def clear_param_diffs(self) -> None:
        """Sets the diffs of all params to zero, since backward adds to them."""
        for param in self.learnable:
            param.blob.diff.fill(0)

    def loss_weights(self) -> dict[str, float]:
        """The loss weight of every blob that is a loss."""
        return {
            name: weight
            for node in self.nodes
            for name, weight in zip(node.top_names, node.layer.loss_weights, strict=True)
            if weight
        }

    def share_trained_layers_with(self, other: Net) -> None:
        """Makes the params of layers that have a layer of the same name in `other` use that layer's data.

        Raises:
            NetError: two layers of one name have different params.
        """
        own = {node.layer.name: node.layer for node in reversed(self.nodes)}
        for source in other.layers:
            target = own.get(source.name)
            if target is None:
                logger.debug("layer '%s' is not in this net: nothing to share", source.name)
                continue
            shapes = [blob.shape for blob in source.params], [blob.shape for blob in target.params]
            if shapes[0] != shapes[1]:
                raise target.error(
                    f"its params have shapes {shapes[1]}, those of the same layer in the other net {shapes[0]}",
                    remedy="give the layers the same parameters, or different names",
                )
            for mine, theirs in zip(target.params, source.params, strict=True):
                mine.share_data(theirs)

    def layer(self, name: str) -> Layer:
        """Finds a layer by name.

        Raises:
            NetError: there is none; lists those that there are.
        """
        for node in self.nodes:
            if node.layer.name == name:
                return node.layer
        raise NetError(f"the net has no layer '{name}'; it has: {', '.join(self.layer_names)}", layer=name)

    def close(self) -> None:
        """Ends the sessions of the Python layers; blobs and params stay readable."""
        for node in self.nodes:
            node.layer.close()

    def __enter__(self) -> Net:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
