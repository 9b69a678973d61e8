"""The train net and the test nets that a solver definition asks for, each with its state."""

from __future__ import annotations

from pathlib import Path

from farlayer.engine.prototxt import read_net
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError, PrototxtError

_TRAIN_FIELDS = ("net", "net_param", "train_net", "train_net_param")


def train_definition(param: caffe_pb2.SolverParameter, base_dir: Path) -> caffe_pb2.NetParameter:
    """The definition of the train net, its state merged: phase TRAIN, then the net's own state, then train_state.

    Args:
        param: the solver's definition.
        base_dir: the folder of its file, where nets are looked for that are not under the working directory.

    Raises:
        NetError: not exactly one train net is given.
        PrototxtError: its file is missing or malformed.

    Source: Caffe, src/caffe/solver.cpp (InitTrainNet).
    """
    set_fields = {field.name for field, _ in param.ListFields()}
    given = [field for field in _TRAIN_FIELDS if field in set_fields]
    if len(given) != 1:
        raise NetError(
            f"solver: the train net is given by {' and '.join(given) or 'none'} of {', '.join(_TRAIN_FIELDS)}, "
            "expected exactly one",
            remedy="give the solver one of these fields",
        )
    definition = caffe_pb2.NetParameter()
    if given[0] == "net_param":
        definition.CopyFrom(param.net_param)
    elif given[0] == "train_net_param":
        definition.CopyFrom(param.train_net_param)
    else:
        definition = _read(param.net or param.train_net, base_dir)
    _merge_state(definition, caffe_pb2.TRAIN, [param.train_state])
    return definition


def test_definitions(param: caffe_pb2.SolverParameter, base_dir: Path) -> list[caffe_pb2.NetParameter]:
    """The definitions of the test nets: those of test_net_param, of test_net, then `net` for each test_iter left.

    Args:
        param: the solver's definition.
        base_dir: as for `train_definition`.

    Raises:
        NetError: test_iter, test_state or test_interval do not fit the number of test nets.
        PrototxtError: a file is missing or malformed.

    Source: Caffe, src/caffe/solver.cpp (InitTestNets).
    """
    named = len(param.test_net_param) + len(param.test_net)
    wanted = len(param.test_iter)
    generic = param.HasField("net") or param.HasField("net_param")
    if wanted < named or (wanted > named and not generic):
        raise NetError(
            f"solver: test_iter is given {wanted} times for {named} test nets",
            remedy="give test_iter once for each test net",
        )
    if param.test_state and len(param.test_state) != wanted:
        raise NetError(
            f"solver: test_state is given {len(param.test_state)} times for {wanted} test nets",
            remedy="leave test_state out, or give it once for each test net",
        )
    if wanted and param.test_interval < 1:
        raise NetError(
            f"solver: there are {wanted} test nets, but test_interval is {param.test_interval}",
            remedy="set test_interval to 1 or more",
        )
    definitions = [_copy(net) for net in param.test_net_param]
    definitions += [_read(path, base_dir) for path in param.test_net]
    for _ in range(wanted - named):
        definitions.append(_copy(param.net_param) if param.HasField("net_param") else _read(param.net, base_dir))
    for index, definition in enumerate(definitions):
        _merge_state(definition, caffe_pb2.TEST, param.test_state[index : index + 1])
    return definitions


def _merge_state(
    definition: caffe_pb2.NetParameter, phase: caffe_pb2.Phase.ValueType, overrides: list[caffe_pb2.NetState]
) -> None:
    state = caffe_pb2.NetState(phase=phase)
    state.MergeFrom(definition.state)
    for override in overrides:
        state.MergeFrom(override)
    definition.state.CopyFrom(state)


def _copy(net: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    copy = caffe_pb2.NetParameter()
    copy.CopyFrom(net)
    return copy


def find_file(path: str, base_dir: Path, what: str) -> Path:
    """Finds a file that a solver names: from the working directory, or else from the folder of the solver's file.

    Args:
        path: as the solver states it.
        base_dir: the folder of its file.
        what: what it should be, for the error.

    Raises:
        PrototxtError: it is at neither place.
    """
    for candidate in (Path(path), base_dir / path):
        if candidate.is_file():
            return candidate
    places = dict.fromkeys(f"'{folder}'" for folder in (Path.cwd(), base_dir.resolve()))
    raise PrototxtError(
        f"the solver names this {what}, but there is no such file; looked in {' and '.join(places)}",
        path=path,
        remedy="correct the path, or run from the folder that it is relative to",
    )


def _read(path: str, base_dir: Path) -> caffe_pb2.NetParameter:
    return read_net(find_file(path, base_dir, "net"))
