"""The command as a whole: help, version, bugs."""

from importlib.metadata import version
from pathlib import Path

from tests.cli.command import environment, farlayer


def test_version_is_that_of_the_package(tmp_path: Path) -> None:
    assert version("farlayer") in farlayer("--version", cwd=tmp_path).out


def test_help_names_every_command_and_every_flag_of_caffe(tmp_path: Path) -> None:
    commands = farlayer("--help", cwd=tmp_path)
    assert commands.code == 0
    for name in ("train", "test", "serve", "doctor"):
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
