from pathlib import Path

import numpy as np
import pytest

from farlayer.engine.solvers.state import fill_history, read_state, write_state
from farlayer.protos.errors import SnapshotError
from tests.engine.support import blob_of


def written(path: Path) -> Path:
    history = [blob_of([[1, 2], [3, 4]]), blob_of([5])]
    write_state(path, iteration=7, learned_net=Path("w.caffemodel"), current_step=2, history=history)
    return path


def test_a_state_comes_back(tmp_path: Path) -> None:
    state = read_state(written(tmp_path / "s"))
    assert (state.iter, state.learned_net, state.current_step) == (7, "w.caffemodel", 2)
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


def test_every_truncation_is_refused_or_has_no_whole_history(tmp_path: Path) -> None:
    content = written(tmp_path / "s").read_bytes()
    for size in range(len(content) - 2):  # the last two bytes are current_step alone
        (tmp_path / "part").write_bytes(content[:size])
        with pytest.raises(SnapshotError):
            fill_history([blob_of(np.zeros((2, 2))), blob_of([0])], read_state(tmp_path / "part"), tmp_path / "part")


@pytest.mark.parametrize("content", [b"", b"hello, world"])
def test_what_is_no_state_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(SnapshotError, match="bytes"):
        read_state(tmp_path / "s")


def test_a_missing_state_is_named(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="cannot read the solver state"):
        read_state(tmp_path / "missing")
