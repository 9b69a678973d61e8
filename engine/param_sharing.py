"""The trainable params of a net, and those that layers share by name."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from farlayer.blobs.blob import Blob
from farlayer.protos import caffe_pb2

if TYPE_CHECKING:
    from farlayer.engine.layer import Layer

logger = logging.getLogger(__name__)


@dataclass
class LearnableParam:
    """One blob that a solver updates.

    Attributes:
        blob: the owner's blob; sharers have its memory.
        layer: name of the layer that owns it.
        index: its place among that layer's params.
        lr_mult: multiplies the learning rate; None until some layer states it.
        decay_mult: multiplies the weight decay; None until some layer states it.
    """

    blob: Blob
    layer: str
    index: int
    lr_mult: float | None = None
    decay_mult: float | None = None


class ParamTable:
    """Collects the params of a net's layers in order, and joins those of the same name.

    The first layer with a name owns the blob; later ones share its data and diff.

    Attributes:
        learnable: one entry for each distinct blob, in the order of Net.learnable_params.

    Source: Caffe, src/caffe/net.cpp (AppendParam, ShareWeights).
    """

    def __init__(self) -> None:
        self.learnable: list[LearnableParam] = []
        self._by_name: dict[str, LearnableParam] = {}
        self._shared: list[tuple[Blob, LearnableParam]] = []

    def add_layer(self, layer: Layer) -> None:
        """Takes the params of a layer that is set up.

        Raises:
            NetError: more `param` specs than params, a shared param of another shape, or one whose multipliers
                contradict each other.
        """
        specs = layer.param.param
        params = layer.params
        if len(specs) > len(params):
            raise layer.error(
                f"{len(specs)} param specs are given, but it has {len(params)} params",
                remedy="remove the superfluous `param { }` entries",
            )
        for index, blob in enumerate(params):
            spec = specs[index] if index < len(specs) else caffe_pb2.ParamSpec()
            owner = self._by_name.get(spec.name) if spec.name else None
            if owner is None:
                owner = LearnableParam(blob, layer.name, index)
                self.learnable.append(owner)
                if spec.name:
                    self._by_name[spec.name] = owner
            else:
                self._join(layer, index, blob, spec, owner)
            self._take_multipliers(layer, spec, owner)

    def share(self) -> None:
        """Gives every sharing blob the memory of its owner."""
        for blob, owner in self._shared:
            blob.share_data(owner.blob)
            blob.share_diff(owner.blob)

    def _join(self, layer: Layer, index: int, blob: Blob, spec: caffe_pb2.ParamSpec, owner: LearnableParam) -> None:
        permissive = spec.share_mode == caffe_pb2.ParamSpec.PERMISSIVE
        fits = blob.count == owner.blob.count if permissive else blob.shape == owner.blob.shape
        if not fits:
            raise layer.error(
                f"param {index} has shape {blob.shape}, but it shares '{spec.name}' with layer '{owner.layer}', where "
                f"the shape is {owner.blob.shape}",
                remedy="give the params the same number of values"
                if permissive
                else "give the params the same shape, or share_mode: PERMISSIVE where the counts agree",
            )
        logger.info("layer '%s' shares param '%s' of layer '%s'", layer.name, spec.name, owner.layer)
        self._shared.append((blob, owner))

    def _take_multipliers(self, layer: Layer, spec: caffe_pb2.ParamSpec, owner: LearnableParam) -> None:
        if spec.HasField("lr_mult"):
            owner.lr_mult = _agreed(layer, spec.name, "lr_mult", owner.lr_mult, spec.lr_mult, owner.layer)
        if spec.HasField("decay_mult"):
            owner.decay_mult = _agreed(layer, spec.name, "decay_mult", owner.decay_mult, spec.decay_mult, owner.layer)


def _agreed(layer: Layer, param: str, field: str, known: float | None, stated: float, owner: str) -> float:
    if known is not None and known != stated:
        raise layer.error(
            f"shared param '{param}' has {field} {stated}, but {known} with its owner, layer '{owner}'",
            remedy=f"state {field} once, or the same everywhere",
        )
    return stated
