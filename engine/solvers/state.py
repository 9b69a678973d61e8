"""The state of a solver to and from files, in Caffe's own formats: .solverstate and .solverstate.h5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from farlayer.blobs.blob import Blob
from farlayer.engine.blob_proto import StoredBlob
from farlayer.engine.files import is_hdf5
from farlayer.engine.solvers import state_binary, state_hdf5
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import SnapshotError


@dataclass(frozen=True)
class StoredState:
    """The state of a solver as a file holds it.

    Attributes:
        numbers: iteration, learned_net and what the learning rate policy keeps; without history.
        history: what the solver keeps for each param.
    """

    numbers: caffe_pb2.SolverState
    history: Sequence[StoredBlob]


def write_state(path: Path, numbers: caffe_pb2.SolverState, history: Sequence[Blob], *, hdf5: bool = False) -> None:
    """Writes a state, whole or not at all.

    Args:
        path: the file.
        numbers: everything but the history.
        history: what the solver keeps for each param, in Caffe's order.
        hdf5: whether it becomes an HDF5 file.

    Raises:
        SnapshotError: it cannot be written, or h5py is needed and missing.
    """
    write = state_hdf5.write if hdf5 else state_binary.write
    write(path, numbers, history)


def read_state(path: Path) -> StoredState:
    """Reads a state; that it is HDF5 is seen by its first bytes.

    Raises:
        SnapshotError: it is missing, truncated, no solver state, or h5py is needed and missing.
    """
    read = state_hdf5.read if is_hdf5(path, "solver state") else state_binary.read
    numbers, history = read(path)
    if not numbers.HasField("iter"):
        is_weights = path.suffix == ".caffemodel"
        raise SnapshotError(
            f"the solver state '{path}' states no iteration ({path.stat().st_size} bytes)",
            remedy="give the .solverstate that lies beside these weights"
            if is_weights
            else "take an earlier snapshot, or check that it is a .solverstate",
        )
    return StoredState(numbers, history)


def find_learned_net(state: StoredState, state_path: Path) -> Path | None:
    """Finds the weights that a state names: at that path, or beside the state where both were moved together.

    Raises:
        SnapshotError: they are at neither place.
    """
    if not state.numbers.learned_net:
        return None
    stated = Path(state.numbers.learned_net)
    beside = state_path.parent / stated.name
    for path in (stated, beside):
        if path.is_file():
            return path
    raise SnapshotError(
        f"the solver state '{state_path}' belongs to the weights '{stated}', which are neither there nor at '{beside}'",
        remedy=f"put {stated.name} beside the state",
    )


def fill_history(history: Sequence[Blob], state: StoredState, state_path: Path) -> None:
    """Copies the history of a state into a solver's.

    Raises:
        SnapshotError: it was written by a solver of another kind or net.
    """
    expected = [blob.shape for blob in history]
    if len(state.history) != len(history) or not all(
        stored.fits(shape) for stored, shape in zip(state.history, expected, strict=True)
    ):
        raise SnapshotError(
            f"the solver state '{state_path}' has a history of shapes {[stored.shape for stored in state.history]}, "
            f"expected {expected}",
            remedy="use the solver type and the net that wrote it",
        )
    for blob, stored in zip(history, state.history, strict=True):
        stored.fill(blob)
