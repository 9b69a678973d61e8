"""farlayer serve as its users run it."""

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.command import LAYERS, farlayer, running

NoLeaks = Callable[[], list[str]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_an_idle_server_in_order(tmp_path: Path, leak_check: NoLeaks, number: int) -> None:
    with running("serve", "--listen", f"unix:{tmp_path}/s.sock", cwd=tmp_path) as server:
        server.wait_for("listening on")
        result = server.interrupt(number)
    assert result.code == 0, result
    assert "Traceback" not in result.err, result
    assert result.seconds < 5
    assert not list(tmp_path.glob("*.sock*"))
    assert leak_check() == []


def test_port_0_takes_a_free_port_and_tells_it(tmp_path: Path) -> None:
    with running("serve", "-listen=127.0.0.1:0", cwd=tmp_path) as server:
        err = server.wait_for("listening on 127.0.0.1:")
        port = int(re.findall(r"listening on 127\.0\.0\.1:(\d+)", err)[0])
        assert port > 0
        result = farlayer("doctor", "--workers", f"127.0.0.1:{port}", cwd=tmp_path)
    assert result.code == 0, result


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "Missing option '--listen'"),
        (("--listen", "nonsense"), "'nonsense' is no address"),
        (("--listen", "unix:relative.sock"), "absolute path"),
        (("--listen", "unix:/nowhere/at/all/s.sock"), "cannot listen on 'unix:/nowhere/at/all/s.sock'"),
        (("--listen", "127.0.0.1:0", "--max-workers", "0"), "--max-workers"),
        (("--listen", "127.0.0.1:0", "--python-path", "missing"), "there is no folder 'missing'"),
    ],
)
def test_options_that_make_no_sense_end_with_exit_code_2(tmp_path: Path, arguments: tuple[str, ...], text: str) -> None:
    result = farlayer("serve", *arguments, cwd=tmp_path)
    assert result.code == 2, result
    assert text in result.err, result
    assert "Traceback" not in result.err, result


def test_max_workers_bounds_what_engines_can_take(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/s.sock"
    arguments = ("--listen", address, "--max-workers", "3", "--python-path", LAYERS)
    with running("serve", *arguments, cwd=tmp_path) as server:
        server.wait_for("listening on")
        result = farlayer("doctor", "--workers", address, cwd=tmp_path)
    assert "at most 3 workers" in result.out, result
