"""A worker's start and end: `python -m farlayer.worker.process --control FD`, started by a server only."""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import logging
import os
import signal
import sys

from farlayer.blobs.mailbox import Mailbox
from farlayer.worker import caffe_alias
from farlayer.worker.loop import WorkerLoop

_PR_SET_PDEATHSIG = 1

# Here and not in main: children that user code spawns import this module as their main one before they unpickle.
caffe_alias.install()


def main(argv: list[str] | None = None) -> int:
    """Runs the worker until its server lets go of it. Returns the exit code."""
    options = _parse(argv)
    _die_with_parent(options.parent)
    faulthandler.enable()  # a crash in native code leaves its stack in the log; so does the server's SIGABRT
    logging.basicConfig(level=options.log_level, format="%(levelname)s %(name)s: %(message)s")
    sys.path[:0] = [folder for folder in options.python_path if folder not in sys.path]
    sys.argv = ["farlayer-worker"]
    WorkerLoop(Mailbox.from_descriptor(options.control)).run()
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="farlayer-worker", description=__doc__)
    parser.add_argument("--control", type=int, required=True, help="descriptor of the mailbox to the server")
    parser.add_argument("--parent", type=int, required=True, help="process id of the server")
    parser.add_argument("--python-path", action="append", default=[], help="folder to look for layer modules in")
    parser.add_argument("--log-level", default="WARNING")
    return parser.parse_args(argv)


def _die_with_parent(parent_pid: int) -> None:
    """Asks the kernel to end this process when the server ends, however it ends and whatever user code does here."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        raise SystemExit("the server ended before its worker had started")


if __name__ == "__main__":
    sys.exit(main())
