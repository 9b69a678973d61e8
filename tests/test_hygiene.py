"""The check for things left behind, tried on tests that leave something."""

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CONFTEST = """
from tests import hygiene
from tests.hygiene import *
hygiene.GRACE_S = 0.3
"""


@pytest.fixture
def run_tests(tmp_path: Path) -> Callable[[str], tuple[int, str]]:
    """Runs a module, given as text, in a pytest of its own under the hygiene check; returns exit code and output."""

    def run(text: str) -> tuple[int, str]:
        (tmp_path / "conftest.py").write_text(CONFTEST)
        (tmp_path / "test_it.py").write_text(textwrap.dedent(text))
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
        command += ["--rootdir", str(tmp_path), "--basetemp", str(tmp_path / "nested"), str(tmp_path / "test_it.py")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        finished = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        return finished.returncode, finished.stdout

    return run


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_module_that_cleans_up_passes(run_tests: Callable[[str], tuple[int, str]]) -> None:
    code, output = run_tests("""
        import os, subprocess, sys, tempfile

        def test_tidy():
            subprocess.run([sys.executable, "-c", "pass"], check=True)
            with tempfile.TemporaryDirectory(), open(os.devnull) as file:
                assert file.fileno() > 0
        """)
    assert code == 0, output
    assert "1 passed" in output


def test_a_child_process_is_reported_with_its_command_and_killed(run_tests: Callable[[str], tuple[int, str]]) -> None:
    code, output = run_tests("""
        import subprocess, sys

        child = None

        def test_leaky():
            global child
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        """)
    assert code == 1
    found = re.search(r"test_it.py left behind:\s+process (\d+), child of \d+: .*time\.sleep\(60\)", output)
    assert found, output
    assert not is_alive(int(found[1]))
    assert "The test session left behind" not in output, "what a module was told once is not told again"


def test_a_process_that_lost_its_parent_is_found_by_its_environment(
    run_tests: Callable[[str], tuple[int, str]],
) -> None:
    code, output = run_tests("""
        import subprocess, sys

        PARENT = '''
        import subprocess, sys
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(61)"], start_new_session=True)
        '''

        def test_leaky():
            import textwrap
            subprocess.run([sys.executable, "-c", textwrap.dedent(PARENT)], check=True)
        """)
    assert code == 1
    found = re.search(r"process (\d+), child of \d+: .*time\.sleep\(61\)", output)
    assert found, output
    assert not is_alive(int(found[1]))


def test_a_fork_that_lost_its_parent_is_found_by_the_memfd_it_inherited(
    run_tests: Callable[[str], tuple[int, str]],
) -> None:
    code, output = run_tests("""
        import os, time

        def test_leaky():
            child = os.fork()
            if child == 0:
                if os.fork() == 0:
                    os.setsid()
                    time.sleep(62)
                os._exit(0)
            os.waitpid(child, 0)
        """)
    assert code == 1
    found = re.search(r"left behind:\s+process (\d+), child of \d+: .*pytest", output)
    assert found, output
    assert not is_alive(int(found[1]))


def test_a_zombie_is_reported(run_tests: Callable[[str], tuple[int, str]]) -> None:
    code, output = run_tests("""
        import os

        def test_leaky():
            if os.fork() == 0:
                os._exit(0)
        """)
    assert code == 1
    assert "a zombie: nobody waited for it" in output


def test_open_descriptors_are_reported_with_what_they_are(run_tests: Callable[[str], tuple[int, str]]) -> None:
    code, output = run_tests("""
        import os, socket, tempfile

        kept = []

        def test_leaky():
            kept.append(os.memfd_create("farlayer-blob"))
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            listener.bind("\\0farlayer-left-open")
            kept.append(listener)
        """)
    assert code == 1
    assert re.search(r"descriptor \d+: /memfd:farlayer-blob", output), output
    assert re.search(r"descriptor \d+: unix socket @farlayer-left-open", output), output


def test_a_file_in_the_folder_for_temporary_files_is_reported(run_tests: Callable[[str], tuple[int, str]]) -> None:
    code, output = run_tests("""
        import pathlib, tempfile

        def test_leaky():
            (pathlib.Path(tempfile.gettempdir()) / "broker.sock").touch()
        """)
    assert code == 1
    assert re.search(r"left behind:\s+file /.*/broker\.sock", output), output


def test_descriptors_that_a_failed_test_holds_are_not_added_to_its_failure(
    run_tests: Callable[[str], tuple[int, str]],
) -> None:
    code, output = run_tests("""
        import os

        kept = []

        def test_fails():
            kept.append(os.memfd_create("held-by-a-frame"))
            assert False, "the failure itself"
        """)
    assert code == 1
    assert "the failure itself" in output
    assert "left behind" not in output
