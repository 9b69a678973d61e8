"""The descriptors that a process is taken to have: stdin, stdout and stderr, and enough others."""

from __future__ import annotations

import os
import sys

from farlayer.blobs.descriptors import allow_many_descriptors


def prepare_descriptors() -> None:
    """Opens what the caller closed of the three standard streams, and allows as many files as memory segments need.

    A pipe or socket that got the number of a closed stream would be taken for it by the processes that we start.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  # for the life of the process
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    allow_many_descriptors()
