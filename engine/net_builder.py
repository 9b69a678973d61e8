"""Builds a Net from its definition: filters, inserts Splits, wires, sets up, plans backward, shares params."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from farlayer.blobs.blob import Blob
from farlayer.blobs.segment import Allocator, heap
from farlayer.engine.backward_plan import LayerFacts, plan_backward
from farlayer.engine.blob_memory import plan_allocators
from farlayer.engine.kernels.choice import choose_kernels
from farlayer.engine.layer import Layer, LayerContext
from farlayer.engine.net import Net, Node
from farlayer.engine.net_rules import filter_net
from farlayer.engine.param_sharing import ParamTable
from farlayer.engine.registry import create_layer
from farlayer.engine.splits import insert_splits, unknown_bottom
from farlayer.engine.upgrade import upgrade_net
from farlayer.protos import caffe_pb2

if TYPE_CHECKING:
    from farlayer.client.host import LayerHost

logger = logging.getLogger(__name__)


def build_net(
    param: caffe_pb2.NetParameter,
    phase: caffe_pb2.Phase.ValueType,
    *,
    host: LayerHost,
    level: int | None = None,
    stages: Sequence[str] = (),
    rng: np.random.Generator | None = None,
    check_finite: bool = False,
    kernels: str = "auto",
) -> Net:
    """Builds the net that a definition describes in one phase.

    Args:
        param: the definition; it is not changed. Its own `state` counts, but for the phase.
        phase: caffe_pb2.TRAIN or caffe_pb2.TEST.
        host: where Python layers live; the caller keeps and closes it.
        level: the net's level for include and exclude rules; None for that of the definition's state.
        stages: stages for those rules, besides those of the definition's state.
        rng: where fillers and layers take random numbers from; None for numbers that differ from run to run.
        check_finite: see Net.
        kernels: which code does the heavy arithmetic: "numpy", "torch", or "auto" for torch where it is installed.

    Returns:
        The net, which the caller closes. Layers that were set up before an error are closed here.

    Raises:
        NetError: the definition makes no net, or there are no such kernels.
        LayerLoadError, LayerError, WorkerError: a Python layer could not be set up.
    """
    definition = caffe_pb2.NetParameter()
    definition.CopyFrom(param)
    upgrade_net(definition)
    definition.state.phase = phase
    if level is not None:
        definition.state.level = level
    definition.state.stage.extend(stage for stage in stages if stage not in definition.state.stage)
    definition = insert_splits(filter_net(definition))
    for layer_param in definition.layer:
        if not layer_param.HasField("phase"):
            layer_param.phase = phase
    _note_engines(definition)
    builder = _Builder(definition, LayerContext(host, rng or np.random.default_rng(), choose_kernels(kernels)))
    try:
        builder.add_layers()
        return builder.finish(check_finite)
    except BaseException:
        builder.close()
        raise


class _Builder:
    """The state of one build: which blobs exist, who made them, which are still unread."""

    def __init__(self, definition: caffe_pb2.NetParameter, context: LayerContext) -> None:
        self._definition = definition
        self._context = context
        self._allocators: dict[str, Allocator] = {}
        self._nodes: list[Node] = []
        self._blobs: dict[str, Blob] = {}
        self._producers: dict[str, str] = {}
        self._unread: set[str] = set()
        self._params = ParamTable()
        self._learns: list[list[bool]] = []

    def add_layers(self) -> None:
        self._allocators = plan_allocators(self._definition, self._context.host)
        for layer_param in self._definition.layer:
            self._add_layer(layer_param)

    def finish(self, check_finite: bool) -> Net:
        self._warn_of_names()
        self._plan_backward()
        self._params.share()
        outputs = sorted(self._unread)
        logger.info("net '%s' has %d layers; outputs: %s", self._definition.name, len(self._nodes), outputs)
        return Net(
            self._definition.name,
            self._definition.state.phase,
            self._nodes,
            self._blobs,
            outputs,
            self._params.learnable,
            check_finite=check_finite,
            debug_info=self._definition.debug_info,
        )

    def close(self) -> None:
        for node in self._nodes:
            node.layer.close()

    def _add_layer(self, layer_param: caffe_pb2.LayerParameter) -> None:
        layer = create_layer(layer_param, self._context)
        asked = len(layer_param.propagate_down)
        if asked not in (0, len(layer_param.bottom)):
            raise layer.error(
                f"propagate_down is given {asked} times for {len(layer_param.bottom)} bottoms",
                remedy="leave it out, or give it once for each bottom",
            )
        bottom = [self._read(layer_param, name) for name in layer_param.bottom]
        top = [self._make_top(layer, name, index) for index, name in enumerate(layer_param.top)]
        # Anonymous tops: the layer has its loss somewhere to go, but no layer can read it.
        wanted = max(layer.exact_num_top or 0, layer.min_num_top or 0) if layer.auto_top_blobs else 0
        missing = range(len(top), wanted)
        top_names = [*layer_param.top, *(f"(automatic) {layer.name} {index}" for index in missing)]
        top.extend(Blob() for _ in missing)
        node = Node(layer, list(layer_param.bottom), top_names, bottom, top)
        self._nodes.append(node)
        # As in Caffe the definition says what learns, not what setup makes of it: a BatchNorm without `param` counts.
        stated = [spec.lr_mult != 0 for spec in layer_param.param]
        layer.run_setup(bottom, top)
        self._learns.append([*stated, *[True] * len(layer.params)][: len(layer.params)])
        for name, blob, weight in zip(top_names, top, layer.loss_weights, strict=True):
            logger.info("layer '%s' -> '%s' %s%s", layer.name, name, blob.shape, f", loss {weight}" if weight else "")
        self._params.add_layer(layer)

    def _read(self, layer_param: caffe_pb2.LayerParameter, name: str) -> Blob:
        if name not in self._unread:
            raise unknown_bottom(layer_param, name, sorted(self._unread))
        self._unread.discard(name)
        return self._blobs[name]

    def _make_top(self, layer: Layer, name: str, index: int) -> Blob:
        bottoms = layer.param.bottom
        if index < len(bottoms) and bottoms[index] == name:
            if not layer.allows_in_place:
                raise layer.error(
                    f"blob '{name}' is both its bottom and its top, but this type does not work in place",
                    remedy="give the top a name of its own",
                )
            blob = self._blobs[name]
        elif name in self._blobs:
            raise layer.error(
                f"top blob '{name}' is already produced by layer '{self._producers[name]}'",
                remedy="give one of the two tops another name",
            )
        else:
            blob = self._blobs[name] = Blob(allocate=self._allocators.get(name, heap))
            self._producers[name] = layer.name
        self._unread.add(name)
        return blob

    def _warn_of_names(self) -> None:
        """Caffe says nothing: files of weights know layers by name alone, and give theirs to the first."""
        with_params = Counter(node.layer.name for node in self._nodes if node.layer.params)
        shared = [name for name, count in with_params.items() if count > 1]
        if shared:
            logger.warning(
                "several layers with params are named '%s': from files only the first gets weights", "', '".join(shared)
            )

    def _plan_backward(self) -> None:
        facts = [_facts(node, learns) for node, learns in zip(self._nodes, self._learns, strict=True)]
        plans = plan_backward(facts, force_backward=self._definition.force_backward)
        for node, plan in zip(self._nodes, plans, strict=True):
            node.needs_backward = plan.needs_backward
            node.propagate_down = plan.propagate_down
            node.layer.param_propagate_down = plan.param_propagate_down
            logger.debug("layer '%s' %s backward", node.layer.name, "needs" if plan.needs_backward else "does not need")


def _note_engines(definition: caffe_pb2.NetParameter) -> None:
    """Logs which layers ask for an implementation (engine: CUDNN), since there is no such choice here."""
    asking = [
        layer.name
        for layer in definition.layer
        for field, message in layer.ListFields()
        if field.name.endswith("_param") and any(inner.name == "engine" for inner, _ in message.ListFields())
    ]
    if asking:
        logger.info("the field `engine` has no effect here; layers that give it: %s", ", ".join(asking))


def _facts(node: Node, learns: list[bool]) -> LayerFacts:
    return LayerFacts(
        bottoms=node.bottom_names,
        tops=node.top_names,
        propagate_down=list(node.layer.param.propagate_down),
        is_loss=[bool(weight) for weight in node.layer.loss_weights],
        params_learn=learns,
        allow_force_backward=node.layer.allow_force_backward,
    )
