"""Runs the command `farlayer` as its users do: as a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

LAYERS = Path(__file__).parent / "layers"
LIMIT_S = 40.0  # whatever takes longer hangs
COMMAND = [sys.executable, "-m", "farlayer.cli.main"]


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str
    seconds: float

    def __str__(self) -> str:
        return f"exit code {self.code} after {self.seconds:.1f} s\n--- out\n{self.out}\n--- err\n{self.err}"


def environment(**changes: str) -> dict[str, str]:
    """That of the tests, but for what would change the output; one BLAS thread, since nets are tiny."""
    kept = {
        name: value for name, value in os.environ.items() if name not in {"COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE"}
    }
    return {**kept, "OPENBLAS_NUM_THREADS": "1", **changes}


def farlayer(*arguments: str | Path, cwd: Path, env: dict[str, str] | None = None) -> Result:
    """Runs the command to its end."""
    started = time.monotonic()
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        env=env or environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr, time.monotonic() - started)


class Running:
    """A command that runs; its stderr can be waited on."""

    def __init__(self, process: subprocess.Popen[str], err_path: Path) -> None:
        self.process = process
        self._err_path = err_path
        self._started = time.monotonic()

    def wait_for(self, text: str) -> str:
        """Waits until stderr holds a text; returns all of stderr."""
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            err = self._err_path.read_text(encoding="utf-8")
            if text in err:
                return err
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        raise AssertionError(f"'{text}' did not come; what came:\n{self._err_path.read_text(encoding='utf-8')}")

    def interrupt(self, number: int = signal.SIGINT) -> Result:
        """Sends a signal and waits for the end."""
        sent = time.monotonic()
        self.process.send_signal(number)
        return self.end(since=sent)

    def end(self, *, since: float | None = None) -> Result:
        """Waits for the end."""
        out = _read(self.process.stdout)
        code = self.process.wait(LIMIT_S)
        began = self._started if since is None else since
        return Result(code, out, self._err_path.read_text(encoding="utf-8"), time.monotonic() - began)


@contextmanager
def running(*arguments: str | Path, cwd: Path, env: dict[str, str] | None = None) -> Iterator[Running]:
    """Starts the command; it is killed at the end of `with` where it still runs."""
    err_path = cwd / "stderr.txt"
    with (
        err_path.open("w", encoding="utf-8") as err,
        subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            cwd=cwd,
            env=env or environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
        ) as process,
    ):
        try:
            yield Running(process, err_path)
        finally:
            process.kill()


def _read(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.read()
