"""A worker process ends with its server, however that ends."""

import subprocess
import sys

import pytest

from farlayer.blobs.mailbox import Mailbox
from tests.remote_support import wait_until_gone


def start(control: Mailbox, parent: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "farlayer.worker.process", "--control", str(control.fileno()), "--parent", parent]
    return subprocess.Popen(command, pass_fds=[control.fileno()], stderr=subprocess.PIPE, text=True)


def test_a_worker_ends_in_order_when_its_control_mailbox_does() -> None:
    here, there = Mailbox.pair()
    with start(there, str(__import__("os").getpid())) as worker:
        there.close()
        here.close()
        assert worker.wait(10) == 0


def test_a_worker_whose_server_ended_before_it_started_does_not_run() -> None:
    here, there = Mailbox.pair()
    with start(there, "1") as worker:
        there.close()
        _, stderr = worker.communicate(timeout=10)
        assert worker.returncode == 1
        assert "the server ended before its worker had started" in stderr
    here.close()


def test_a_worker_ends_with_the_process_that_started_it_also_while_its_mailbox_is_held() -> None:
    here, there = Mailbox.pair()
    script = (
        "import os, subprocess, sys, time\n"
        "worker = subprocess.Popen([sys.executable, '-m', 'farlayer.worker.process', '--control', sys.argv[1],\n"
        "    '--parent', str(os.getpid())], pass_fds=[int(sys.argv[1])])\n"
        "print(worker.pid, flush=True)\n"
        "time.sleep(300)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(there.fileno())],
        pass_fds=[there.fileno()],
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        here.send(b"")  # no message that opens a channel: the worker reads it once it listens
        server.kill()
        assert wait_until_gone([pid], 5) == []
    there.close()
    here.close()


def test_the_command_line_is_checked() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "farlayer.worker.process"], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 2
    assert "--control" in finished.stderr
    with pytest.raises(SystemExit):
        __import__("farlayer.worker.process", fromlist=["main"]).main([])
