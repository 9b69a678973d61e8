"""The command as a whole: help, version, bugs."""

import shlex
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.cli.command import COMMAND, LAYERS, environment, farlayer
from tests.cli.nets import write_net


def test_version_is_that_of_the_package(tmp_path: Path) -> None:
    assert version("farlayer") in farlayer("--version", cwd=tmp_path).out


def test_help_names_every_command_and_every_flag_of_caffe(tmp_path: Path) -> None:
    commands = farlayer("--help", cwd=tmp_path)
    assert commands.code == 0
    for name in ("train", "test", "serve", "doctor", "convert-imageset", "compute-image-mean"):
        assert f"\n  {name} " in commands.out
    flags = farlayer("train", "--help", cwd=tmp_path).out + farlayer("test", "-h", cwd=tmp_path).out
    for flag in ("solver", "weights", "snapshot", "model", "iterations", "phase", "level", "stage", "workers"):
        assert f"--{flag} " in flags, flag


def test_no_command_at_all_is_a_usage_error(tmp_path: Path) -> None:
    result = farlayer(cwd=tmp_path)
    assert result.code == 2
    assert "Usage: farlayer" in result.err


def test_an_unknown_command_is_a_usage_error(tmp_path: Path) -> None:
    result = farlayer("trian", cwd=tmp_path)
    assert result.code == 2
    assert "No such command 'trian'" in result.err


def test_a_bug_is_told_as_one_with_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import farlayer.cli.environment as e\ndef broken(): raise AssertionError('boom')\ne.extras = broken\n",
        encoding="utf-8",
    )
    result = farlayer("doctor", "--json", cwd=tmp_path, env=environment(PYTHONPATH=str(tmp_path)))
    assert result.code == 1, result
    assert "AssertionError: boom" in result.err
    assert "Traceback" in result.err
    assert "this is a bug in farlayer. Please report it" in result.err


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_no_trouble(tmp_path: Path, closed: str) -> None:
    write_net(tmp_path, "Half")
    command = shlex.join([*COMMAND, "train", "--solver", "solver.prototxt", "--python-path", str(LAYERS)])
    done = subprocess.run(
        ["bash", "-c", f"exec {command} {closed}"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done
    assert (tmp_path / "out" / "small_iter_6.caffemodel").exists()
    assert "Traceback" not in done.stderr


def test_output_that_finds_no_room_is_told_in_one_line(tmp_path: Path) -> None:
    write_net(tmp_path, "Half")
    command = [*COMMAND, "train", "--solver", "solver.prototxt", "--python-path", str(LAYERS)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment(), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1, done
    assert "error: the output cannot be written: no space is left" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_working_directory_that_was_deleted_is_told(tmp_path: Path) -> None:
    command = shlex.join([*COMMAND, "doctor"])
    script = f"mkdir gone && cd gone && rmdir ../gone && exec {command}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done
    assert "error: the working directory was deleted" in done.stderr
    assert "Traceback" not in done.stderr
