"""Nets written in Python: layers are functions of tops, and `to_proto` makes the definition of them.

    from farlayer.engine.net_spec import NetSpec, layers as L, params as P

    n = NetSpec()
    n.data, n.label = L.Python(ntop=2, python_param=dict(module="digits", layer="DataLayer"))
    n.score = L.InnerProduct(n.data, num_output=10, weight_filler=dict(type="xavier"))
    n.loss = L.SoftmaxWithLoss(n.score, n.label)
    print(n.to_proto())

A keyword is a field of the type's own message (`num_output` of convolution_param for L.Convolution), or else of the
layer (`name`, `loss_weight`, `param`, `include`); one that ends in "param" is always the layer's. Dicts are messages,
lists repeated fields; a single value for a repeated field is a list of one. `ntop` is the number of tops (0: the call
gives the layer itself), `in_place=True` makes the bottoms the tops. Blobs and layers are named after the NetSpec
attribute that holds them; without one after their type and a number.

Source: Caffe, python/caffe/net_spec.py; the same program gives the same text.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from google.protobuf.message import Message

from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError

__all__ = ["Function", "NetSpec", "Top", "assign_proto", "layers", "param_name_dict", "params", "to_proto"]


class Top:
    """One top of a layer, to be given to other layers as a bottom.

    Attributes:
        fn: the layer.
        n: which of its tops this is.
    """

    def __init__(self, fn: Function, n: int) -> None:
        self.fn = fn
        self.n = n

    def to_proto(self) -> caffe_pb2.NetParameter:
        """The definition of all layers that this top needs."""
        return to_proto(self)


class Function:
    """One layer: its type, the tops that it reads and its parameters.

    Attributes:
        type_name: the layer type.
        inputs: its bottoms.
        params: the keywords, but for ntop and in_place; may be changed until the definition is made.
        ntop: how many tops it has.
        in_place: whether its tops are its bottoms.
        tops: its tops.

    Raises:
        TypeError: a bottom is no Top.
    """

    def __init__(self, type_name: str, inputs: Iterable[Top], params: Mapping[str, Any]) -> None:
        self.type_name = type_name
        self.inputs = tuple(inputs)
        self.params = dict(params)
        self.ntop: int = self.params.pop("ntop", 1)
        self.in_place: bool = self.params.pop("in_place", False)
        self.tops = tuple(Top(self, n) for n in range(self.ntop))
        for index, bottom in enumerate(self.inputs):
            if not isinstance(bottom, Top):
                many = " (a layer of several tops gives a tuple: pick one)" if isinstance(bottom, tuple) else ""
                raise TypeError(f"{type_name}: bottom {index} is a {type(bottom).__name__}, not a top of a layer{many}")


class NetSpec:
    """A net whose attributes (or items) are the tops of its layers, in the order of first assignment."""

    tops: dict[str, Top | Function]

    def __init__(self) -> None:
        object.__setattr__(self, "tops", {})

    def __setattr__(self, name: str, value: Top | Function) -> None:
        self.tops[name] = value

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # a Top, but for layers without tops
        if name not in self.tops:
            raise AttributeError(f"the net has no top '{name}'; it has: {', '.join(self.tops) or 'none'}")
        return self.tops[name]

    def __setitem__(self, name: str, value: Top | Function) -> None:
        self.tops[name] = value

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401  # as above
        if name not in self.tops:
            raise KeyError(name)
        return self.tops[name]

    def __delattr__(self, name: str) -> None:
        del self.tops[name]

    def __delitem__(self, name: str) -> None:
        del self.tops[name]

    def keys(self) -> list[str]:
        """The names."""
        return list(self.tops)

    def vals(self) -> list[Top | Function]:
        """The tops."""
        return list(self.tops.values())

    def update(self, name: str, params: Mapping[str, Any]) -> None:
        """Changes parameters of the layer behind a top."""
        _function(self.tops[name]).params.update(params)

    def to_proto(self) -> caffe_pb2.NetParameter:
        """The definition of all layers that the net's tops need.

        Raises:
            NetError: a keyword is no field, or its value does not fit.
        """
        return _make_net(self.tops.values(), {top: name for name, top in self.tops.items()})


def to_proto(*tops: Top | Function) -> caffe_pb2.NetParameter:
    """Makes the definition of all layers that the given tops need, named after their types.

    Raises:
        NetError: a keyword is no field, or its value does not fit.
    """
    return _make_net(tops, {})


class _Layers:
    """`layers.TYPE(*bottoms, **params)` makes a layer; gives its top, a tuple of its tops, or without tops itself."""

    def __getattr__(self, type_name: str) -> Any:  # noqa: ANN401  # a function with a result of three kinds
        def layer(*bottoms: Top, **params: Any) -> Function | Top | tuple[Top, ...]:  # noqa: ANN401  # any field
            fn = Function(type_name, bottoms, params)
            if not fn.tops:
                return fn
            return fn.tops[0] if len(fn.tops) == 1 else fn.tops

        layer.__name__ = layer.__qualname__ = type_name
        return layer


class _Params:
    """`params.TYPE.NAME` is a value of an enumeration in a type's message, as params.Pooling.MAX."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # a message class
        message = getattr(caffe_pb2, f"{name}Parameter", None)
        if message is None:
            raise AttributeError(f"there is no {name}Parameter in caffe.proto")
        return message


layers = _Layers()
params = _Params()


@cache
def param_name_dict() -> dict[str, str]:
    """The name of each type's own field in LayerParameter, without "_param": {"Convolution": "convolution", ...}."""
    return {
        field.message_type.name.removesuffix("Parameter"): field.name.removesuffix("_param")
        for field in caffe_pb2.LayerParameter.DESCRIPTOR.fields
        if field.message_type is not None and field.name.endswith("_param")
    }


def assign_proto(proto: Message, name: str, value: object) -> None:
    """Sets a field of a message from Python values: dicts for messages, lists (or one value) for repeated fields.

    Raises:
        AttributeError: the message has no such field.
        TypeError, ValueError: the value does not fit the field.
    """
    target = getattr(proto, name)
    if hasattr(target, "extend"):
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(item, dict):
                _assign_all(target.add(), item)
            else:
                target.append(item)
    elif isinstance(value, dict):
        _assign_all(target, value)
    elif isinstance(target, Message) and isinstance(value, Message):
        target.CopyFrom(value)
    else:
        setattr(proto, name, value)


def _assign_all(proto: Message, values: Mapping[str, object]) -> None:
    for name, value in values.items():
        assign_proto(proto, name, value)


def _function(top: Top | Function) -> Function:
    return top.fn if isinstance(top, Top) else top


def _make_net(tops: Iterable[Top | Function], given: Mapping[Top | Function, str]) -> caffe_pb2.NetParameter:
    names = _Names(given)
    made: dict[Function, caffe_pb2.LayerParameter] = {}
    for fn in _in_order(tops):
        made[fn] = _make_layer(fn, [made[bottom.fn].top[bottom.n] for bottom in fn.inputs], names)
    return caffe_pb2.NetParameter(layer=made.values())


def _in_order(tops: Iterable[Top | Function]) -> Iterator[Function]:
    """All layers that the tops need, each after those that it reads; without recursion, since nets may be deep."""
    done: set[Function] = set()
    waiting = [_function(top) for top in tops][::-1]
    while waiting:
        fn = waiting[-1]
        missing = [bottom.fn for bottom in fn.inputs if bottom.fn not in done]
        if missing:
            waiting.extend(missing[::-1])
            continue
        waiting.pop()
        if fn not in done:
            done.add(fn)
            yield fn


class _Names:
    """Names that were given, and for the rest the type with a number that counts up within the type."""

    def __init__(self, given: Mapping[Top | Function, str]) -> None:
        self._names = dict(given)
        self._counts: Counter[str] = Counter()

    def of_top(self, top: Top) -> str:
        return self._name(top, top.fn.type_name)

    def of_layer(self, fn: Function) -> str:
        """The layer's own where it has no tops, else that of its first top."""
        return self.of_top(fn.tops[0]) if fn.tops else self._name(fn, fn.type_name)

    def _name(self, key: Top | Function, type_name: str) -> str:
        if key not in self._names:
            self._counts[type_name] += 1
            self._names[key] = f"{type_name}{self._counts[type_name]}"
        return self._names[key]


def _make_layer(fn: Function, bottoms: list[str], names: _Names) -> caffe_pb2.LayerParameter:
    layer = caffe_pb2.LayerParameter(type=fn.type_name, bottom=bottoms)
    layer.top.extend(bottoms if fn.in_place else [names.of_top(top) for top in fn.tops])
    layer.name = names.of_layer(fn)
    own = param_name_dict().get(fn.type_name)
    for keyword, value in fn.params.items():
        holder: Message = layer
        if own is not None and not keyword.endswith("param"):
            message = getattr(layer, f"{own}_param")
            holder = message if keyword in message.DESCRIPTOR.fields_by_name else layer
        _assign_keyword(layer, holder, keyword, value)
    return layer


def _assign_keyword(layer: caffe_pb2.LayerParameter, holder: Message, keyword: str, value: object) -> None:
    try:
        assign_proto(holder, keyword, value)
    except AttributeError as error:
        problem, remedy = _explain(layer, keyword, f"cannot take {keyword} = {value!r}: {error}")
        raise NetError(f"layer '{layer.name}' ({layer.type}) {problem}", remedy=remedy, layer=layer.name) from error
    except (TypeError, ValueError) as error:
        raise NetError(
            f"layer '{layer.name}' ({layer.type}) cannot take {keyword} = {value!r}: {error}",
            remedy=f"give {keyword} a value of its type in caffe.proto",
            layer=layer.name,
        ) from error


def _explain(layer: caffe_pb2.LayerParameter, keyword: str, refusal: str) -> tuple[str, str]:
    """What is wrong with a keyword that found no field, and the remedy."""
    own = param_name_dict().get(layer.type, "")
    fields = [*layer.DESCRIPTOR.fields_by_name]
    own_fields = [*getattr(layer, f"{own}_param").DESCRIPTOR.fields_by_name] if own else []
    unknown = f"has no field '{keyword}'"
    if keyword.endswith("param") and keyword in own_fields:
        return unknown, f"a keyword that ends in param is the layer's own: give {own}_param=dict({keyword}=...)"
    if keyword in (*fields, *own_fields):
        return refusal, f"correct the names in {keyword}: they are fields of a message in caffe.proto"
    close = difflib.get_close_matches(keyword, [*fields, *own_fields], n=1)
    if close:
        return unknown, f"did you mean '{close[0]}'?"
    holders = [
        field.name
        for field in layer.DESCRIPTOR.fields
        if field.message_type is not None and keyword in field.message_type.fields_by_name
    ]
    if holders:
        return unknown, (
            f"{keyword} is a field of {', '.join(holders)}: give it inside the one that the type reads, as in "
            f"{holders[0]}=dict({keyword}=...)"
        )
    return unknown, f"fields of a {layer.type} layer: {', '.join([*fields, *own_fields])}"
