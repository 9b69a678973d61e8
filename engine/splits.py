"""Automatic Split layers: a blob with several readers gets one copy of its gradient for each."""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import dataclass, field

from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError

_Top = tuple[int, int]
"""Where a blob was made: index of the layer (-1: the net's own inputs), index of the top."""


@dataclass
class _Uses:
    """Who reads what."""

    source: dict[tuple[int, int], _Top] = field(default_factory=dict)  # (layer, bottom index) -> top
    readers: Counter[_Top] = field(default_factory=Counter)
    loss_weight: dict[_Top, float] = field(default_factory=dict)


def insert_splits(param: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    """Copies a definition with a Split layer behind each top that is read more than once.

    Done twice it changes nothing more.

    Being a loss counts as reading: the loss weight then moves to the Split's first top. Differs from Caffe: the other
    loss weights of that layer stay, and the moved one is set to 0 rather than left to the layer's default.

    Raises:
        NetError: a bottom that no layer before produces.

    Source: Caffe, src/caffe/util/insert_splits.cpp.
    """
    uses = _find_uses(param)
    result = caffe_pb2.NetParameter()
    result.CopyFrom(param)
    del result.layer[:]
    given: Counter[_Top] = Counter()  # how many of its copies a top has handed out
    for index, name in enumerate(param.input):
        top = (-1, index)
        if uses.readers[top] > 1:
            _add_split(result, "input", name, index, uses.readers[top], 0.0)
    for layer_index, original in enumerate(param.layer):
        layer = result.layer.add()
        layer.CopyFrom(original)
        for bottom_index, blob in enumerate(original.bottom):
            top = uses.source[layer_index, bottom_index]
            if uses.readers[top] > 1:
                producer = "input" if top[0] < 0 else param.layer[top[0]].name
                layer.bottom[bottom_index] = split_blob_name(producer, blob, top[1], given[top])
                given[top] += 1
        for top_index, blob in enumerate(original.top):
            top = (layer_index, top_index)
            if uses.readers[top] > 1:
                weight = uses.loss_weight.get(top, 0.0)
                _add_split(result, original.name, blob, top_index, uses.readers[top], weight)
                if weight:
                    layer.loss_weight[top_index] = 0.0
                    given[top] += 1
    return result


def split_layer_name(layer: str, blob: str, top_index: int) -> str:
    """The name of the Split layer behind a top, as Caffe makes it."""
    return f"{blob}_{layer}_{top_index}_split"


def split_blob_name(layer: str, blob: str, top_index: int, split_index: int) -> str:
    """The name of one top of that Split layer."""
    return f"{split_layer_name(layer, blob, top_index)}_{split_index}"


def _find_uses(param: caffe_pb2.NetParameter) -> _Uses:
    uses = _Uses()
    latest: dict[str, _Top] = {name: (-1, index) for index, name in enumerate(param.input)}
    for layer_index, layer in enumerate(param.layer):
        for bottom_index, blob in enumerate(layer.bottom):
            if blob not in latest:
                raise unknown_bottom(layer, blob, list(latest))
            uses.source[layer_index, bottom_index] = latest[blob]
            uses.readers[latest[blob]] += 1
        for top_index, blob in enumerate(layer.top):
            latest[blob] = (layer_index, top_index)
        for top_index, weight in enumerate(layer.loss_weight[: len(layer.top)]):
            if weight:
                uses.loss_weight[layer_index, top_index] = weight
                uses.readers[layer_index, top_index] += 1
    return uses


def unknown_bottom(layer: caffe_pb2.LayerParameter, blob: str, available: list[str]) -> NetError:
    """Makes the error for a bottom that nothing produced; it lists what there is."""
    close = difflib.get_close_matches(blob, available, n=1)
    guess = f"did you mean '{close[0]}'? Otherwise " if close else ""
    return NetError(
        f"layer '{layer.name}' ({layer.type}): unknown bottom blob '{blob}'; "
        f"available at this point: {', '.join(available) or 'none'}",
        remedy=f"{guess}name a blob that a layer before it produces in this phase",
        layer=layer.name,
    )


def _add_split(
    result: caffe_pb2.NetParameter, producer: str, blob: str, top_index: int, count: int, loss_weight: float
) -> None:
    split = result.layer.add(name=split_layer_name(producer, blob, top_index), type="Split", bottom=[blob])
    split.top.extend(split_blob_name(producer, blob, top_index, index) for index in range(count))
    if loss_weight:
        split.loss_weight.extend([loss_weight] + [0.0] * (count - 1))
