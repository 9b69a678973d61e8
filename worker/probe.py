"""A layer that farlayer itself uses to try out a worker: `farlayer doctor` runs it."""

from __future__ import annotations

import os
import platform
import sys
from typing import Sequence

import numpy as np

from farlayer.blobs.blob import Blob
from farlayer.worker.layer import Layer


class EchoLayer(Layer):
    """Copies its bottoms to its tops, and their diffs back.

    bottom[i]: any shape. top[i]: the same shape and values.
    """

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Checks that there are as many tops as bottoms."""
        if len(bottom) != len(top):
            raise ValueError(f"EchoLayer needs as many tops as bottoms, not {len(top)} for {len(bottom)}")

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Gives each top the shape of its bottom."""
        for source, target in zip(bottom, top):
            target.reshape(source.shape)

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Copies data."""
        for source, target in zip(bottom, top):
            target.data[...] = source.data

    def backward(self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]) -> None:
        """Copies diffs back."""
        for source, target, wanted in zip(top, bottom, propagate_down):
            if wanted:
                target.diff[...] = source.diff

    def environment(self) -> dict[str, object]:
        """What this worker runs on."""
        import google.protobuf

        return {
            "python": platform.python_version(),
            "executable": sys.executable,
            "numpy": np.__version__,
            "protobuf": google.protobuf.__version__,
            "pid": os.getpid(),
            "grpc_loaded": "grpc" in sys.modules,
        }
