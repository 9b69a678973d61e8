from pathlib import Path

import numpy as np
import pytest

from farlayer.engine.solvers.state import fill_history, find_learned_net, read_state, write_state
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import SnapshotError
from tests.engine.support import blob_of

NUMBERS = {"iter": 7, "learned_net": "w.caffemodel", "current_step": 2}


def written(path: Path) -> Path:
    write_state(path, caffe_pb2.SolverState(**NUMBERS), [blob_of([[1, 2], [3, 4]]), blob_of([5])])
    return path


def test_a_state_comes_back(tmp_path: Path) -> None:
    state = read_state(written(tmp_path / "s"))
    assert state.numbers == caffe_pb2.SolverState(**NUMBERS)
    history = [blob_of(np.zeros((2, 2))), blob_of([0])]
    fill_history(history, state, tmp_path / "s")
    np.testing.assert_array_equal(history[0].data, [[1, 2], [3, 4]])
    np.testing.assert_array_equal(history[1].data, [5])


@pytest.mark.parametrize("shapes", [[(2, 2)], [(2, 2), (2,)], [(2, 2), (1,), (1,)], [(4,), (1,)]])
def test_a_history_of_another_net_is_refused(tmp_path: Path, shapes: list[tuple[int, ...]]) -> None:
    state = read_state(written(tmp_path / "s"))
    with pytest.raises(SnapshotError, match=r"history of shapes \[\(2, 2\), \(1,\)\], expected") as caught:
        fill_history([blob_of(np.zeros(shape)) for shape in shapes], state, tmp_path / "s")
    assert caught.value.remedy


def test_the_file_is_the_message_of_caffe(tmp_path: Path) -> None:
    expected = caffe_pb2.SolverState(**NUMBERS)
    expected.history.add(data=[1, 2, 3, 4]).shape.dim.extend([2, 2])
    expected.history.add(data=[5]).shape.dim.extend([1])
    assert caffe_pb2.SolverState.FromString(written(tmp_path / "s").read_bytes()) == expected


def test_a_history_of_before_2014_is_read(tmp_path: Path) -> None:
    state = caffe_pb2.SolverState(iter=1)
    state.history.add(num=1, channels=1, height=2, width=3, data=range(6))
    (tmp_path / "s").write_bytes(state.SerializeToString())
    history = [blob_of(np.zeros((2, 3)))]
    fill_history(history, read_state(tmp_path / "s"), tmp_path / "s")
    np.testing.assert_array_equal(history[0].data, [[0, 1, 2], [3, 4, 5]])


def test_every_truncation_is_refused_or_has_no_whole_history(tmp_path: Path) -> None:
    content = written(tmp_path / "s").read_bytes()
    for size in range(len(content)):
        (tmp_path / "part").write_bytes(content[:size])
        with pytest.raises(SnapshotError):
            fill_history([blob_of(np.zeros((2, 2))), blob_of([0])], read_state(tmp_path / "part"), tmp_path / "part")


def test_missing_weights_are_told_with_both_places(tmp_path: Path) -> None:
    state = read_state(written(tmp_path / "s"))
    with pytest.raises(SnapshotError, match=r"weights 'w.caffemodel', which are neither there nor at '.*/w") as caught:
        find_learned_net(state, tmp_path / "s")
    assert caught.value.remedy == "put w.caffemodel beside the state"
    (tmp_path / "w.caffemodel").touch()
    assert find_learned_net(state, tmp_path / "s") == tmp_path / "w.caffemodel"


@pytest.mark.parametrize("content", [b"", b"hello, world"])
def test_what_is_no_state_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(SnapshotError, match="bytes"):
        read_state(tmp_path / "s")


def test_weights_in_the_place_of_a_state_are_told(tmp_path: Path) -> None:
    (tmp_path / "w.caffemodel").write_bytes(b"\x0a\x00")
    with pytest.raises(SnapshotError) as caught:
        read_state(tmp_path / "w.caffemodel")
    assert ".solverstate" in caught.value.remedy


def test_a_missing_state_is_named(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="cannot read the solver state"):
        read_state(tmp_path / "missing")
