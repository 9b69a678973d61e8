"""A terminal of its own for the command: what is drawn is read, keys can be typed."""

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cli.command import COMMAND, LIMIT_S, environment

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
_LOG_IN = "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"
CTRL_C = b"\x03"


class Terminal:
    """The far side of a pseudo terminal."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process = process
        self._descriptor = descriptor
        self._bytes = b""

    @property
    def is_open(self) -> bool:
        """Whether the window is still there."""
        return self._descriptor >= 0

    @property
    def raw(self) -> str:
        """Everything drawn so far, control sequences included."""
        return self._bytes.decode("utf-8", "replace")

    @property
    def text(self) -> str:
        """Everything drawn so far, without control sequences."""
        return _CONTROL.sub("", self.raw)

    def wait_for(self, pattern: str) -> None:
        """Reads until a pattern was drawn."""
        deadline = time.monotonic() + LIMIT_S
        while not re.search(pattern, self.text):
            assert time.monotonic() < deadline, f"'{pattern}' was not drawn; what was:\n{self.text}"
            assert self._read(), f"the command ended before it drew '{pattern}'; what it drew:\n{self.text}"

    def type(self, keys: bytes) -> None:
        """Presses keys."""
        os.write(self._descriptor, keys)

    def hang_up(self) -> None:
        """Closes the window: the command's terminal is gone."""
        os.close(self._descriptor)
        self._descriptor = -1

    def end(self) -> int:
        """Reads to the end of the command; returns its exit code."""
        deadline = time.monotonic() + LIMIT_S
        while self._read():
            assert time.monotonic() < deadline, f"no end; what was drawn:\n{self.text}"
        return self.process.wait(LIMIT_S)

    def _read(self) -> bool:
        """Reads what is there; False at the end."""
        if not select.select([self._descriptor], [], [], 0.1)[0]:
            return self.process.poll() is None
        try:
            piece = os.read(self._descriptor, 65536)
        except OSError:  # how Linux tells that nobody has the near side open any more
            return False
        self._bytes += piece
        return bool(piece)


@contextmanager
def terminal(*arguments: str | Path, cwd: Path, columns: int = 80) -> Iterator[Terminal]:
    """Starts the command in a terminal of this width, as its foreground process."""
    far, near = os.openpty()
    fcntl.ioctl(near, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", _LOG_IN, *COMMAND, *map(str, arguments)],
        cwd=cwd,
        env=environment(TERM="xterm-256color"),
        stdin=near,
    )
    os.close(near)
    screen = Terminal(process, far)
    try:
        yield screen
    finally:
        process.kill()
        process.wait()
        if screen.is_open:
            os.close(far)
