from pathlib import Path

import h5py
import numpy as np
import pytest

from farlayer.engine.solvers.state import read_state, write_state
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import SnapshotError
from tests.engine.support import blob_of

NUMBERS = {"iter": 7, "learned_net": "w.caffemodel.h5", "current_step": 2}


def written(path: Path, **numbers: object) -> Path:
    state = caffe_pb2.SolverState(**{**NUMBERS, **numbers})  # type: ignore[arg-type]
    write_state(path, state, [blob_of([[1, 2], [3, 4]]), blob_of([5]), blob_of(6)], hdf5=True)
    return path


def test_a_state_comes_back(tmp_path: Path) -> None:
    state = read_state(written(tmp_path / "s", minimum_loss=0.25, iter_last_event=3))
    assert state.numbers == caffe_pb2.SolverState(**NUMBERS, minimum_loss=0.25, iter_last_event=3)
    assert [stored.shape for stored in state.history] == [(2, 2), (1,), ()]
    assert [stored.data.ravel().tolist() for stored in state.history] == [[1, 2, 3, 4], [5], [6]]


def test_the_datasets_are_those_of_caffe(tmp_path: Path) -> None:
    with h5py.File(written(tmp_path / "s")) as file:
        assert set(file) == {"iter", "learned_net", "current_step", "history"}
        for name, value in (("iter", 7), ("current_step", 2)):
            assert (file[name].shape, file[name].dtype, file[name][0]) == ((1,), np.int32, value)
        text_type = file["learned_net"].id.get_type()
        # As H5LTmake_dataset_string makes it, and H5LTread_dataset_string needs it: with room for a zero at its end.
        assert text_type.get_strpad() == h5py.h5t.STR_NULLTERM
        assert (text_type.get_size(), file["learned_net"].shape) == (len("w.caffemodel.h5") + 1, ())
        assert file["learned_net"][()] == b"w.caffemodel.h5"
        assert [(name, file["history"][name].dtype) for name in file["history"]] == [(n, np.float32) for n in "012"]


def test_text_of_other_kinds_and_a_state_without_weights_are_read(tmp_path: Path) -> None:
    with h5py.File(written(tmp_path / "s"), "a") as file:
        del file["learned_net"]
        file["learned_net"] = "net"  # of any length, as h5py writes it
    assert read_state(tmp_path / "s").numbers.learned_net == "net"
    with h5py.File(tmp_path / "s", "a") as file:
        del file["learned_net"]
    assert not read_state(tmp_path / "s").numbers.HasField("learned_net")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("iter", None, "expected a dataset of numbers at '/iter', but there is none"),
        ("iter", [1, 2], r"expected one number at '/iter', got \[1 2\]"),
        ("iter", [1.5], r"expected one number at '/iter', got \[1.5\]"),
        ("iter", [2**40], "expected one number at '/iter', got"),
        ("current_step", "two", "expected a dataset of numbers at '/current_step'"),
        ("learned_net", [1], "expected a string at '/learned_net', got <HDF5 dataset"),
        ("history", None, "has no group 'history'"),
        ("history", [1], "has no group 'history'"),
        ("history/1", None, "expected a dataset of numbers at '/history/1', but there is none"),
    ],
)
def test_what_is_damaged_is_told(tmp_path: Path, name: str, value: object, message: str) -> None:
    with h5py.File(written(tmp_path / "s"), "a") as file:
        del file[name]
        if value is not None:
            file[name] = value
    with pytest.raises(SnapshotError, match=message) as caught:
        read_state(tmp_path / "s")
    assert caught.value.remedy
