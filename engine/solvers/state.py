"""The state of a solver to and from .solverstate files, in Caffe's own format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from farlayer.blobs.blob import Blob
from farlayer.engine.blob_proto import blob_to_proto, fill_from_proto, fits_shape, shape_of_proto
from farlayer.engine.files import read_message, write_atomically
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import SnapshotError


def write_state(path: Path, *, iteration: int, learned_net: Path, current_step: int, history: Sequence[Blob]) -> None:
    """Writes a .solverstate file, whole or not at all.

    Args:
        path: the file.
        iteration: how many updates were done.
        learned_net: the weights that belong to it.
        current_step: the step that the learning rate policy is at.
        history: what the solver keeps for each param.

    Raises:
        SnapshotError: it cannot be written.
    """
    state = caffe_pb2.SolverState(iter=iteration, learned_net=str(learned_net), current_step=current_step)
    state.history.extend(blob_to_proto(blob) for blob in history)
    write_atomically(path, state.SerializeToString())


def read_state(path: Path) -> caffe_pb2.SolverState:
    """Reads a .solverstate file.

    Raises:
        SnapshotError: it is missing, truncated, no solver state, or HDF5.
    """
    state = read_message(
        path, caffe_pb2.SolverState(), "solver state", kind=".solverstate", remedy="take an earlier snapshot"
    )
    if not state.HasField("iter"):
        raise SnapshotError(
            f"the solver state '{path}' states no iteration ({path.stat().st_size} bytes)",
            remedy="take an earlier snapshot, or check that it is a .solverstate",
        )
    return state


def find_learned_net(state: caffe_pb2.SolverState, state_path: Path) -> Path | None:
    """Finds the weights that a state names: at that path, or beside the state where both were moved together.

    Raises:
        SnapshotError: they are at neither place.
    """
    if not state.learned_net:
        return None
    stated = Path(state.learned_net)
    beside = state_path.parent / stated.name
    for path in (stated, beside):
        if path.is_file():
            return path
    raise SnapshotError(
        f"the solver state '{state_path}' belongs to the weights '{stated}', which are neither there nor at '{beside}'",
        remedy="put the .caffemodel beside the .solverstate",
    )


def fill_history(history: Sequence[Blob], state: caffe_pb2.SolverState, state_path: Path) -> None:
    """Copies the history of a state into a solver's.

    Raises:
        SnapshotError: it was written by a solver of another kind or net.
    """
    expected = [blob.shape for blob in history]
    if len(state.history) != len(history) or not all(
        fits_shape(proto, shape) for proto, shape in zip(state.history, expected, strict=True)
    ):
        raise SnapshotError(
            f"the solver state '{state_path}' has a history of shapes "
            f"{[shape_of_proto(proto) for proto in state.history]}, expected {expected}",
            remedy="use the solver type and the net that wrote it",
        )
    for blob, proto in zip(history, state.history, strict=True):
        fill_from_proto(blob, proto)
