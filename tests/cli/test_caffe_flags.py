"""Caffe's spellings of flags."""

import click
import pytest

from farlayer.cli.app import farlayer

train = farlayer.commands["train"]


def parsed(command: click.Command, *arguments: str) -> dict[str, object]:
    """What click makes of the arguments; the command is not run."""
    return dict(command.make_context("farlayer", list(arguments)).params)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--solver", "s.prototxt", "--weights", "a,b"),
        ("--solver=s.prototxt", "--weights=a,b"),
        ("-solver", "s.prototxt", "-weights", "a,b"),
        ("-solver=s.prototxt", "-weights=a,b"),
        ("-weights=a,b", "--solver", "s.prototxt"),
    ],
)
def test_all_spellings_mean_the_same(arguments: tuple[str, ...]) -> None:
    params = parsed(train, *arguments)
    assert params["solver"] == "s.prototxt"
    assert params["weights"] == "a,b"


@pytest.mark.parametrize("flag", ["--in-process", "-in-process", "--in_process", "-in_process"])
def test_underscores_and_dashes_are_one(flag: str) -> None:
    assert parsed(train, "-solver", "s", flag)["in_process"] is True


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((), False),
        (("--shuffle",), True),
        (("-shuffle=true",), True),
        (("--shuffle=1",), True),
        (("--shuffle=false",), False),
        (("-shuffle=0",), False),
        (("--noshuffle",), False),
    ],
)
def test_switches_are_written_as_gflags_knows_them(flags: tuple[str, ...], expected: bool) -> None:
    params = parsed(farlayer.commands["convert-imageset"], *flags, "root/", "list", "db")
    assert params["shuffle"] is expected
    assert (params["rootfolder"], params["listfile"], params["db_name"]) == ("root/", "list", "db")


@pytest.mark.parametrize("flag", ["--shuffle=maybe", "--nosolver", "--no-such-switch"])
def test_other_values_and_names_are_refused(flag: str) -> None:
    with pytest.raises(click.UsageError, match=flag.partition("=")[0]):
        parsed(farlayer.commands["convert-imageset"], flag, "root/", "list", "db")


def test_values_that_look_like_flags_stay_as_they_are() -> None:
    params = parsed(train, "--solver", "-my_solver", "--stage=-a_b", "-python_path", "--dir_one", "-python-path=x_y")
    assert (params["solver"], params["stage"]) == ("-my_solver", "-a_b")
    assert params["python_path"] == ("--dir_one", "x_y")


def test_negative_numbers_and_values_with_equal_signs_stay_as_they_are() -> None:
    params = parsed(train, "-solver=a=b_c", "-level", "-1")
    assert (params["solver"], params["level"]) == ("a=b_c", -1)


def test_what_follows_two_dashes_is_no_flag() -> None:
    with pytest.raises(click.UsageError, match="unexpected extra argument") as error:
        parsed(train, "-solver", "s", "--", "-in_process")
    assert "-in_process" in error.value.message


def test_a_misspelled_flag_is_told_as_a_whole() -> None:
    with pytest.raises(click.NoSuchOption, match="--solvr"):
        parsed(train, "-solvr", "s")


@pytest.mark.parametrize("written", [("-gpu", "0"), ("--gpu=all",)])
def test_a_flag_of_caffe_that_has_no_meaning_here_is_told_with_the_reason(written: tuple[str, ...]) -> None:
    with pytest.raises(click.NoSuchOption, match="There is no --gpu: the engine runs on the CPU"):
        parsed(train, "-solver", "s", *written)


def test_caffe_test_takes_its_flags_and_its_50_iterations() -> None:
    params = parsed(farlayer.commands["test"], "-model", "n", "-weights", "w", "-phase", "train", "-stage=a,b")
    assert (params["model"], params["weights"], params["phase"], params["stage"]) == ("n", "w", "TRAIN", "a,b")
    assert params["iterations"] == 50
