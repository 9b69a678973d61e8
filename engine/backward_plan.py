"""Who needs a gradient: which layers run backward, into which bottoms and params."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class LayerFacts:
    """What the plan has to know of one layer.

    Attributes:
        bottoms: names of the blobs that it reads; an in-place layer has the same name among its tops.
        tops: names of the blobs that it makes.
        propagate_down: what the definition says for each bottom, whatever is needed; empty for no say.
        is_loss: for each top, whether it has a loss weight.
        params_learn: for each param, whether its lr_mult is not 0.
        allow_force_backward: whether force_backward holds for the bottom of that index.
    """

    bottoms: Sequence[str]
    tops: Sequence[str]
    propagate_down: Sequence[bool]
    is_loss: Sequence[bool]
    params_learn: Sequence[bool]
    allow_force_backward: Callable[[int], bool]


@dataclass
class LayerPlan:
    """What backward does in one layer.

    Attributes:
        needs_backward: whether it runs at all.
        propagate_down: for each bottom, whether it gets a gradient.
        param_propagate_down: for each param, whether it gets one.
    """

    needs_backward: bool
    propagate_down: list[bool] = field(default_factory=list)
    param_propagate_down: list[bool] = field(default_factory=list)


def plan_backward(layers: Sequence[LayerFacts], *, force_backward: bool) -> list[LayerPlan]:
    """Plans backward for layers in the order in which they run forward.

    Forward through the net: a blob needs a gradient where a layer before it learns, and a bottom gets one where its
    blob needs it, unless propagate_down decides. Back through it: only layers that some loss depends on run, and those
    whose every top is skipped do not. force_backward then overrules both.

    Source: Caffe, src/caffe/net.cpp (Net::Init).
    """
    plans = _plan_from_params(layers)
    _skip_what_no_loss_needs(layers, plans)
    if force_backward:
        for facts, plan in zip(layers, plans, strict=True):
            plan.needs_backward = True
            plan.propagate_down = [
                wanted or facts.allow_force_backward(index) for index, wanted in enumerate(plan.propagate_down)
            ]
            plan.param_propagate_down = [True] * len(facts.params_learn)
    return plans


def _plan_from_params(layers: Sequence[LayerFacts]) -> list[LayerPlan]:
    needing: set[str] = set()
    plans = []
    for facts in layers:
        needed = [blob in needing for blob in facts.bottoms]
        plan = LayerPlan(
            needs_backward=any(needed) or any(facts.params_learn),
            propagate_down=list(facts.propagate_down or needed),
            param_propagate_down=list(facts.params_learn),
        )
        if plan.needs_backward:
            needing.update(facts.tops)
        plans.append(plan)
    return plans


def _skip_what_no_loss_needs(layers: Sequence[LayerFacts], plans: list[LayerPlan]) -> None:
    under_loss: set[str] = set()
    skipped: set[str] = set()
    for facts, plan in zip(reversed(layers), reversed(plans), strict=True):
        contributes = any(
            is_loss or blob in under_loss for blob, is_loss in zip(facts.tops, facts.is_loss, strict=True)
        )
        if plan.needs_backward and all(blob in skipped for blob in facts.tops):
            plan.needs_backward = False
            plan.propagate_down = [False] * len(facts.bottoms)
        if not contributes:
            plan.needs_backward = False
            plan.propagate_down = [False] * len(facts.bottoms)
        else:
            under_loss.update(facts.bottoms)
        skipped.update(blob for blob, wanted in zip(facts.bottoms, plan.propagate_down, strict=True) if not wanted)
