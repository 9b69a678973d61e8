"""Ten steps of a solver give what the original Caffe gave: tests/golden/solvers."""

from pathlib import Path

import numpy as np
import pytest

from farlayer.client.in_process_host import InProcessHost
from farlayer.engine.prototxt import parse
from farlayer.engine.solvers import Solver, build_solver
from farlayer.engine.weights_binary import serialized
from farlayer.protos import caffe_pb2
from tests.engine.support import net_param

FOLDER = Path(__file__).parents[1] / "golden" / "solvers"


CASES = [path.stem.removeprefix("solver_") for path in sorted(FOLDER.glob("solver_*.npz"))]


def load(case: str) -> np.lib.npyio.NpzFile:
    return np.load(FOLDER / f"solver_{case}.npz")


def golden_solver(
    golden: np.lib.npyio.NpzFile, prefix: Path | str = "snap", *, snapshot_format: str = "BINARYPROTO"
) -> Solver:
    """The recorded solver with the recorded initial params."""
    param = parse(f"{golden['solver']} snapshot_format: {snapshot_format}", caffe_pb2.SolverParameter())
    param.net_param.CopyFrom(net_param(str(golden["net"])))
    param.snapshot_prefix = str(prefix)
    solver = build_solver(param, host=InProcessHost(), base_dir=Path())
    for key in golden.files:
        if key.startswith("init:"):
            _, layer, index = key.split(":")
            solver.net.layer(layer).params[int(index)].data[...] = golden[key]
    return solver


def step_once(solver: Solver, golden: np.lib.npyio.NpzFile) -> float:
    """One recorded iteration: writes its inputs, steps, and returns its loss."""
    index = solver.iter
    solver.net.blobs["data"].data[...] = golden["data"][index]
    solver.net.blobs["label"].data[...] = golden["label"][index]
    solver.step(1)
    return float(solver.net.blobs["loss"].data)


def check_params(solver: Solver, golden: np.lib.npyio.NpzFile) -> None:
    prefix = f"after{solver.iter}:"
    keys = [key for key in golden.files if key.startswith(prefix)]
    assert len(keys) == len(solver.net.learnable_params)
    for key in keys:
        _, layer, index = key.split(":")
        actual = solver.net.layer(layer).params[int(index)].data
        np.testing.assert_allclose(actual, golden[key], rtol=1e-4, atol=1e-5, err_msg=key)


def place_snapshot(golden: np.lib.npyio.NpzFile, folder: Path) -> Path:
    """Writes the files that the original wrote after iteration 5, and returns the state's path."""
    state_path = folder / "snap_iter_5.solverstate"
    state_path.write_bytes(golden["solverstate_iter5"].tobytes())
    (folder / "snap_iter_5.caffemodel").write_bytes(golden["caffemodel_iter5"].tobytes())
    return state_path


def test_the_recorded_cases_are_there() -> None:
    assert set(CASES) >= {"adagrad", "adam", "rmsprop", "sgd_exp", "sgd_iter_size", "sgd_multistep", "sgd_step_l1"}


@pytest.mark.parametrize("case", CASES)
def test_ten_steps_move_the_params_as_caffe_moves_them(case: str) -> None:
    golden = load(case)
    with golden_solver(golden) as solver:
        for index in range(10):
            loss = step_once(solver, golden)
            assert loss == pytest.approx(float(golden["loss"][index]), rel=1e-4, abs=1e-5)
            check_params(solver, golden)


@pytest.mark.parametrize("case", CASES)
def test_training_goes_on_from_a_snapshot_that_caffe_wrote(case: str, tmp_path: Path) -> None:
    golden = load(case)
    with golden_solver(golden) as solver:
        solver.restore(place_snapshot(golden, tmp_path))
        assert solver.iter == 5
        check_params(solver, golden)
        while solver.iter < 10:
            step_once(solver, golden)
        check_params(solver, golden)


@pytest.mark.parametrize("case", CASES)
def test_a_snapshot_holds_the_messages_that_caffe_writes(case: str, tmp_path: Path) -> None:
    golden = load(case)
    theirs_state = caffe_pb2.SolverState.FromString(golden["solverstate_iter5"].tobytes())
    theirs_model = caffe_pb2.NetParameter.FromString(golden["caffemodel_iter5"].tobytes())
    (tmp_path / "ours").mkdir()
    with golden_solver(golden, tmp_path / "ours" / "snap") as solver:
        while solver.iter < 5:
            step_once(solver, golden)
        model_path, state_path = solver.snapshot()
    assert [path.name for path in (model_path, state_path)] == ["snap_iter_5.caffemodel", "snap_iter_5.solverstate"]
    assert sorted(path.name for path in (tmp_path / "ours").iterdir()) == [model_path.name, state_path.name]
    ours_state = caffe_pb2.SolverState.FromString(state_path.read_bytes())
    ours_model = caffe_pb2.NetParameter.FromString(model_path.read_bytes())
    assert Path(ours_state.learned_net).name == theirs_state.learned_net
    ours_state.learned_net = theirs_state.learned_net
    # Values differ in the last bits: they are compared as numbers, the rest of the messages as such.
    pairs = list(zip(ours_state.history, theirs_state.history, strict=True))
    for ours, theirs in zip(ours_model.layer, theirs_model.layer, strict=True):
        pairs += zip(ours.blobs, theirs.blobs, strict=True)
    assert pairs
    for ours_blob, theirs_blob in pairs:
        np.testing.assert_allclose(ours_blob.data, theirs_blob.data, rtol=1e-4, atol=1e-5)
        ours_blob.ClearField("data")
        theirs_blob.ClearField("data")
    assert ours_state == theirs_state
    assert ours_model == theirs_model


def test_a_net_that_is_read_back_and_written_again_stays_the_same(tmp_path: Path) -> None:
    golden = load("sgd_fixed")
    with golden_solver(golden) as solver:
        solver.restore(place_snapshot(golden, tmp_path))
        written = caffe_pb2.NetParameter.FromString(b"".join(serialized(solver.net)))
        assert written == caffe_pb2.NetParameter.FromString(golden["caffemodel_iter5"].tobytes())


@pytest.mark.parametrize("case", CASES)
def test_an_hdf5_snapshot_continues_as_the_binary_one_of_caffe(case: str, tmp_path: Path) -> None:
    golden = load(case)
    with golden_solver(golden, tmp_path / "ours", snapshot_format="HDF5") as solver:
        solver.restore(place_snapshot(golden, tmp_path))
        _, state_path = solver.snapshot()
    assert state_path.name == "ours_iter_5.solverstate.h5"
    with golden_solver(golden) as solver:
        solver.restore(state_path)
        assert solver.iter == 5
        while solver.iter < 10:
            step_once(solver, golden)
        check_params(solver, golden)
