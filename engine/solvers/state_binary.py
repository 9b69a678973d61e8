"""Solver states in .solverstate files: a serialized SolverState."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from farlayer.blobs.blob import Blob
from farlayer.engine.blob_proto import StoredBlob, read_blob, write_blob
from farlayer.engine.files import decoding, write_atomically
from farlayer.engine.wire import Chunk, nested, take_out
from farlayer.protos import caffe_pb2

_HISTORY = caffe_pb2.SolverState.DESCRIPTOR.fields_by_name["history"].number


def write(path: Path, numbers: caffe_pb2.SolverState, history: Sequence[Blob]) -> None:
    """Writes a .solverstate file.

    Raises:
        SnapshotError: it cannot be written.
    """
    chunks: list[Chunk] = [numbers.SerializeToString()]
    for blob in history:
        chunks += nested(_HISTORY, write_blob(blob))
    write_atomically(path, *chunks)


def read(path: Path) -> tuple[caffe_pb2.SolverState, list[StoredBlob]]:
    """Reads a .solverstate file.

    Raises:
        SnapshotError: it is missing, truncated or no solver state.
    """
    with decoding(path, "solver state", kind=".solverstate", remedy="take an earlier snapshot") as content:
        large, rest = take_out(memoryview(content), (_HISTORY,))
        return caffe_pb2.SolverState.FromString(rest), [read_blob(blob) for blob in large.get(_HISTORY, ())]
