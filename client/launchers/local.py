"""A server of our own on this host, that ends with us."""

from __future__ import annotations

import json
import logging
import os
import re
import select
import shutil
import signal
import site
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence

from farlayer.protos.errors import WorkerUnavailableError

logger = logging.getLogger(__name__)

_START_S = 30.0
_END_S = 10.0
_FOLDER_PREFIX = "farlayer-"
_SOCKET = "server.sock"
_MAX_FOLDER_BYTES = 64
"""Of the folder of temporary files: a socket's path has room for 107 bytes, some of which the server needs itself."""


class LocalLauncher:
    """Starts `farlayer serve` on a unix socket, and ends it.

    The server holds the reading end of a pipe whose writing end is ours: however this process ends, the server sees
    that, ends its workers and removes its folder.

    Args:
        max_workers: worker processes at one time.
        python: interpreter of the workers; "" for this one.
        python_path: folders in which workers look for layer modules; None for those of this process's sys.path that
            a fresh interpreter would not have.
        log_level: of the server and its workers.
        stderr: descriptor that the server and its workers write to; None for this process's stderr.
    """

    def __init__(
        self,
        *,
        max_workers: int,
        python: str = "",
        python_path: Sequence[str] | None = None,
        log_level: str = "WARNING",
        stderr: int | None = None,
    ) -> None:
        self._max_workers = max_workers
        self._python = python
        self._python_path = python_path
        self._log_level = log_level
        self._stderr = stderr
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline = -1
        self._folder = ""

    def start(self) -> list[str]:
        """Starts the server, and returns when it listens.

        Raises:
            WorkerUnavailableError: it did not start.
        """
        self._folder = tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=_folder_of_sockets())
        try:
            return [self._start_server()]
        except BaseException:
            self.close()
            raise

    def _start_server(self) -> str:
        theirs, self._lifeline = os.pipe()
        ready, told = os.pipe()
        options = {
            "listen": f"unix:{self._folder}/{_SOCKET}",
            "max_workers": self._max_workers,
            "python": self._python,
            "python_path": list(self._python_path if self._python_path is not None else own_python_path()),
            "drain_s": 1.0,
            "resume_window_s": 2.0,  # a unix socket breaks for good
            "lifeline": theirs,
            "parent": os.getpid(),
            "ready": told,
            "remove_folder": self._folder,
            "log_level": self._log_level,
        }
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "farlayer.server.serve", json.dumps(options)],
                stdin=subprocess.DEVNULL,
                stderr=self._stderr,
                pass_fds=[theirs, told],
                process_group=0,  # a Ctrl-C in the terminal is for us; we end the server in order
            )
        except OSError as error:
            os.close(ready)
            raise WorkerUnavailableError(
                f"the local server cannot be started: {error.strerror}", remedy="raise the limits on processes or files"
            ) from error
        finally:
            os.close(theirs)
            os.close(told)
        with open(ready, encoding="utf-8") as lines:
            if not select.select([lines], [], [], _START_S)[0]:
                raise WorkerUnavailableError(f"the local server did not start within {_START_S:g} s")
            address = lines.read()
        if not address or address.startswith("error "):
            raise WorkerUnavailableError(
                f"the local server did not start: {address.removeprefix('error ') or 'see its messages above'}"
            )
        logger.info("local server, pid %d, at %s", self._process.pid, address)
        return address

    def close(self) -> None:
        """Ends the server and its workers, and waits until they are gone."""
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        if self._process is not None:
            self._end(self._process)
            self._process = None
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = ""

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        started = time.monotonic()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            logger.warning("the local server did not end within %.3g s; it is killed", time.monotonic() - started)
            process.send_signal(signal.SIGKILL)
            process.wait()


def is_local_server(address: str) -> bool:
    """Whether an address is that of a server that a LocalLauncher started."""
    return re.fullmatch(rf"unix:.*/{_FOLDER_PREFIX}[^/]+/{_SOCKET}", address) is not None


def _folder_of_sockets() -> str:
    """The folder of temporary files, or, where its path is too long for one of a socket, /tmp."""
    folder = tempfile.gettempdir()
    return folder if len(os.fsencode(folder)) <= _MAX_FOLDER_BYTES else "/tmp"


def own_python_path() -> list[str]:
    """Folders of this process's sys.path that a fresh interpreter would lack: the script's, and those it added."""
    installed = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    installed += [*site.getsitepackages(), site.getusersitepackages()]
    own = dict.fromkeys(os.path.abspath(entry) for entry in sys.path)
    return [
        entry
        for entry in own
        if os.path.isdir(entry)
        and not any(entry == folder or entry.startswith(folder + os.sep) for folder in installed)
    ]
