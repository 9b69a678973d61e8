"""farlayer doctor as its users run it."""

import json
import os
import re
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.cli.command import environment, farlayer

NoLeaks = Callable[[], list[str]]


@pytest.mark.parametrize(
    ("arguments", "carrier", "transport", "reason"),
    [
        ((), "mailbox", "shared", "canary passed"),
        (("--transport", "streamed"), "grpc", "streamed", "forced by --transport streamed"),
        (("--carrier", "grpc"), "grpc", "shared", "--carrier forced"),
    ],
)
def test_it_tells_what_was_negotiated_and_why(
    tmp_path: Path, leak_check: NoLeaks, arguments: tuple[str, ...], carrier: str, transport: str, reason: str
) -> None:
    result = farlayer("doctor", "--json", *arguments, cwd=tmp_path)
    assert result.code == 0, result
    report = json.loads(result.out)
    (server,) = report["servers"]
    assert (server["carrier"], server["transport"], server["protocol_version"]) == (carrier, transport, 1)
    assert reason in server["reason"]
    worker = server["worker_environment"]
    assert (worker["grpc_loaded"], worker["numpy"]) == (False, np.__version__)
    assert worker["pid"] != server["pid"]
    small, large = server["timings"]
    assert (small["size_bytes"], large["size_bytes"]) == (4, 4 * 1024 * 1024)
    assert 0 < small["call_s"] < 1
    assert 0 < large["call_s"] < 2
    assert leak_check() == []


def test_people_can_read_it(tmp_path: Path) -> None:
    result = farlayer("doctor", cwd=tmp_path)
    assert result.code == 0, result
    for line in (
        r"Local server, started for this trial",
        r"  protocol +version 1; .*",
        r"  carrier +mailbox",
        r"  transport +shared",
        r"  reason +canary passed.*",
        r"  worker +w1, Python .*, NumPy .*, protobuf .*, pid \d+",
        r"  gRPC there +not loaded",
        r"  4 B call +\S+ us, median",
        rf"  Python +{sys.version.split()[0]}, .*",
        rf"  cores +{len(os.sched_getaffinity(0))} of {os.cpu_count()}",
        r"  memfd +works",
        r"  plot +for curves of a run, train --plot: matplotlib \S+",
    ):
        assert re.search(f"^{line}$", result.out, re.MULTILINE), f"'{line}' is missing: {result}"


def test_a_server_that_is_not_there_is_told_beside_the_rest(tmp_path: Path, leak_check: NoLeaks) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # not listening: refuses
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        result = farlayer("doctor", "--workers", address, cwd=tmp_path)
    assert result.code == 1, result
    assert f"Server {address}\n  failed: " in result.out, result
    assert "This environment" in result.out
    assert leak_check() == []


def test_what_is_missing_comes_with_the_command_that_installs_it(tmp_path: Path) -> None:
    hide = (
        "import importlib.metadata as m\n"
        "found = m.version\n"
        "def version(name):\n"
        "    if name == 'matplotlib':\n"
        "        raise m.PackageNotFoundError(name)\n"
        "    return found(name)\n"
        "m.version = version\n"
    )
    (tmp_path / "sitecustomize.py").write_text(hide, encoding="utf-8")
    result = farlayer("doctor", cwd=tmp_path, env=environment(PYTHONPATH=str(tmp_path)))
    assert result.code == 0, result
    assert re.search(r"plot +for .*: matplotlib missing\n +\S+ -m pip install 'farlayer\[plot\]'", result.out), result
