"""Which layers of a definition belong to a net: phase, level and stage rules."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError

if TYPE_CHECKING:
    from collections.abc import Iterable

logger = logging.getLogger(__name__)


def state_meets_rule(state: caffe_pb2.NetState, rule: caffe_pb2.NetStateRule) -> bool:
    """Whether a net's state meets every condition of a rule: phase, levels, all `stage`, none of `not_stage`."""
    stages = set(state.stage)
    return (
        (not rule.HasField("phase") or rule.phase == state.phase)
        and (not rule.HasField("min_level") or state.level >= rule.min_level)
        and (not rule.HasField("max_level") or state.level <= rule.max_level)
        and stages.issuperset(rule.stage)
        and stages.isdisjoint(rule.not_stage)
    )


def is_included(layer: caffe_pb2.LayerParameter, state: caffe_pb2.NetState) -> bool:
    """Whether a layer is part of a net in this state: by some `include` rule, or else by no `exclude` rule.

    Raises:
        NetError: the layer has rules of both kinds.

    Source: Caffe, src/caffe/net.cpp (FilterNet).
    """
    if layer.include and layer.exclude:
        raise NetError(
            f"layer '{layer.name}' has both include and exclude rules",
            remedy="keep the rules of one kind",
            layer=layer.name,
        )
    if layer.include:
        return _meets_any(state, layer.include)
    return not _meets_any(state, layer.exclude)


def filter_net(param: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    """Copies a definition with the layers that its own `state` includes."""
    filtered = caffe_pb2.NetParameter()
    filtered.CopyFrom(param)
    del filtered.layer[:]
    for layer in param.layer:
        if is_included(layer, param.state):
            filtered.layer.add().CopyFrom(layer)
        else:
            logger.debug("layer '%s' is left out by its include and exclude rules", layer.name)
    return filtered


def _meets_any(state: caffe_pb2.NetState, rules: Iterable[caffe_pb2.NetStateRule]) -> bool:
    return any(state_meets_rule(state, rule) for rule in rules)
