from pathlib import Path

import pytest

from farlayer.engine.prototxt import parse
from farlayer.engine.solvers import definitions
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError, PrototxtError


def solver(text: str) -> caffe_pb2.SolverParameter:
    return parse(text, caffe_pb2.SolverParameter())


def names(nets: list[caffe_pb2.NetParameter]) -> list[str]:
    return [net.name for net in nets]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        (tmp_path / f"{name}.prototxt").write_text(f'name: "{name}"')
    return tmp_path


@pytest.mark.parametrize("field", ["net", "train_net"])
def test_a_net_is_looked_for_beside_the_solver(folder: Path, field: str) -> None:
    assert definitions.train_definition(solver(f'{field}: "one.prototxt"'), folder).name == "one"


def test_the_working_directory_comes_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "below").mkdir()
    (folder / "below" / "one.prototxt").write_text('name: "below"')
    monkeypatch.chdir(folder)
    assert definitions.train_definition(solver('net: "one.prototxt"'), folder / "below").name == "one"


def test_a_net_that_is_nowhere_is_reported_with_both_places(folder: Path) -> None:
    with pytest.raises(PrototxtError, match="no such file; looked in") as caught:
        definitions.train_definition(solver('net: "none.prototxt"'), folder)
    assert str(folder) in caught.value.message
    assert caught.value.path == "none.prototxt"


def test_a_place_that_is_both_is_named_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(PrototxtError, match="no such file; looked in") as caught:
        definitions.train_definition(solver('net: "none.prototxt"'), folder)
    assert caught.value.message.count(str(folder)) == 1


@pytest.mark.parametrize(
    ("text", "given"), [("", "none"), ('net: "a" train_net: "b"', "net and train_net"), ("max_iter: 1", "none")]
)
def test_there_is_one_train_net(folder: Path, text: str, given: str) -> None:
    with pytest.raises(NetError, match=f"the train net is given by {given} of net, net_param"):
        definitions.train_definition(solver(text), folder)


@pytest.mark.parametrize("field", ["net_param", "train_net_param"])
def test_states_are_merged_with_the_solver_last(folder: Path, field: str) -> None:
    net = f'{field} {{ name: "n" state {{ level: 1 stage: "a" }} }} train_state {{ level: 2 stage: "b" }}'
    state = definitions.train_definition(solver(net), folder).state
    assert (state.phase, state.level, list(state.stage)) == (caffe_pb2.TRAIN, 2, ["a", "b"])


def test_test_nets_come_as_messages_as_files_and_then_as_the_net(folder: Path) -> None:
    param = solver(
        'net: "two.prototxt" test_net: "one.prototxt" test_net_param { name: "message" } '
        "test_iter: 1 test_iter: 1 test_iter: 1 test_iter: 1 test_interval: 1 "
        'test_state { stage: "a" } test_state { } test_state { level: 3 } test_state { }'
    )
    nets = definitions.test_definitions(param, folder)
    assert names(nets) == ["message", "one", "two", "two"]
    assert [net.state.phase for net in nets] == [caffe_pb2.TEST] * 4
    assert [net.state.level for net in nets] == [0, 0, 3, 0]
    assert list(nets[0].state.stage) == ["a"]


def test_without_test_iter_there_are_no_test_nets(folder: Path) -> None:
    assert definitions.test_definitions(solver('net: "one.prototxt"'), folder) == []


def test_more_test_iter_than_test_nets_need_a_common_net(folder: Path) -> None:
    param = solver('train_net: "one.prototxt" test_net: "two.prototxt" test_iter: 1 test_iter: 1 test_interval: 1')
    with pytest.raises(NetError, match="test_iter is given 2 times for 1 test nets"):
        definitions.test_definitions(param, folder)
