"""farlayer convert-imageset as its users run it."""

import os
import re
import signal
from pathlib import Path

import pytest

from farlayer.cli.console import Screen
from farlayer.cli.convert_imageset import ConvertOptions, run_conversion
from farlayer.engine.data.databases import Backend
from farlayer.engine.data.image_set import named_records
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import InputError
from tests.cli.command import Result, environment, farlayer, running
from tests.cli.terminal import CTRL_C, terminal
from tests.engine.data.support import image, write_png

COUNT = 5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five images and a list of them."""
    for index in range(COUNT):
        write_png(tmp_path / "images" / f"{index}.png", image(6, 8, seed=index))
    (tmp_path / "list.txt").write_text("".join(f"{index}.png {index}\n" for index in range(COUNT)))
    return tmp_path


def convert(folder: Path, *arguments: str) -> Result:
    return farlayer("convert-imageset", *arguments, cwd=folder)


def datums(path: Path, backend: Backend = "lmdb") -> list[caffe_pb2.Datum]:
    with named_records(str(path), backend) as records:
        return [caffe_pb2.Datum.FromString(value) for _, value in records]


def refused(result: Result, *texts: str) -> None:
    assert result.code == 2, result
    assert "error: " in result.err, result
    assert "Traceback" not in result.err, result
    for text in texts:
        assert text in result.err, f"'{text}' is missing: {result}"


def test_a_list_becomes_a_database(folder: Path) -> None:
    result = convert(folder, "images/", "list.txt", "db")
    assert result.code == 0, result
    assert re.search(r"^Converted +5 images$", result.out, re.MULTILINE), result
    assert re.search(r"^Database +db \(lmdb\)$", result.out, re.MULTILINE), result
    assert result.err == ""
    written = datums(folder / "db")
    assert [datum.label for datum in written] == list(range(COUNT))
    assert written[3].data == image(6, 8, seed=3).transpose(2, 0, 1).tobytes()
    assert sorted(os.listdir(folder)) == ["db", "images", "list.txt"]


def test_the_flags_of_caffe_are_known(folder: Path) -> None:
    flags = ("-gray", "--backend=leveldb", "-resize_width=4", "--resize_height", "3", "--check_size", "-shuffle=true")
    result = convert(folder, *flags, "--encoded=false", f"{folder}/images/", "list.txt", "db")
    assert result.code == 0, result
    written = datums(folder / "db", "leveldb")
    assert {(datum.channels, datum.height, datum.width) for datum in written} == {(1, 3, 4)}
    assert sorted(datum.label for datum in written) == list(range(COUNT))


def test_images_can_be_kept_as_files(folder: Path) -> None:
    assert convert(folder, "--encoded", "images/", "list.txt", "same").code == 0
    assert datums(folder / "same")[2].data == (folder / "images" / "2.png").read_bytes()
    assert convert(folder, "--encode_type=jpg", "images/", "list.txt", "new").code == 0
    assert all(datum.data.startswith(b"\xff\xd8") for datum in datums(folder / "new"))


def test_images_that_cannot_be_read_are_left_out_and_told(folder: Path) -> None:
    (folder / "images" / "1.png").unlink()
    (folder / "images" / "3.png").write_bytes(b"no image")
    result = convert(folder, "images/", "list.txt", "db")
    assert result.code == 0, result
    assert "warning: left out: image '1.png' (line 2 of 'list.txt'): cannot read 'images/1.png'" in result.err
    assert "warning: left out: image '3.png' (line 4 of 'list.txt') is no image" in result.err
    assert re.search(r"^Converted +3 images$", result.out, re.MULTILINE), result
    assert re.search(r"^Left out +2 images$", result.out, re.MULTILINE), result
    assert [datum.label for datum in datums(folder / "db")] == [0, 2, 4]


def test_bad_input_ends_with_exit_code_2_and_leaves_nothing(folder: Path) -> None:
    before = sorted(os.listdir(folder))
    result = convert(folder, "images", "list.txt", "db")
    refused(
        result, "none of the images could be read", "images0.png", "remedy: check the path, and that the root folder"
    )
    assert sorted(os.listdir(folder)) == before


def test_of_many_that_are_left_out_some_are_told_and_all_are_counted(folder: Path) -> None:
    (folder / "list.txt").write_text("0.png 0\n" + "".join(f"none{index}.png 0\n" for index in range(50)))
    result = convert(folder, "images/", "list.txt", "db")
    assert result.code == 0, result
    lines = result.err.splitlines()
    assert len(lines) == 21, result
    assert lines[-1] == "warning: more that are left out are only counted"
    assert re.search(r"^Left out +50 images$", result.out, re.MULTILINE), result


def test_a_kind_that_cannot_be_encoded_is_told_with_the_image_and_a_remedy(folder: Path) -> None:
    result = convert(folder, "--encode-type", "nonsense", "images/", "list.txt", "db")
    refused(result, "left out: image '0.png' (line 1 of 'list.txt'): ", "'nonsense'", "remedy: use png or jpg")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"check_size": True}, r"image '4\.png' \(line 5 of 'list\.txt'\) has height, width and channels \(5, 5, 3\)"),
        ({"list_file": "nowhere.txt"}, "cannot read 'nowhere.txt'"),
        ({"database": "images"}, "'images' exists already"),
        ({"database": "missing/db"}, "the folder of 'missing/db' does not exist"),
        ({"resize_width": 3}, "--resize-height is 0 and --resize-width 3"),
        ({"encode_type": "nonsense"}, "none of the images could be read"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], message: str
) -> None:
    write_png(folder / "images" / "4.png", image(5, 5))
    monkeypatch.chdir(folder)
    before = sorted(os.listdir(folder))
    fields: dict[str, object] = {
        **dict(root_folder="images/", list_file="list.txt", database="db", gray=False, shuffle=False, backend="lmdb"),
        **dict(resize_height=0, resize_width=0, check_size=False, encoded=False, encode_type=""),
    }
    with pytest.raises(InputError, match=message) as error:
        run_conversion(ConvertOptions(**{**fields, **changes}), Screen.make())  # type: ignore[arg-type]
    assert error.value.remedy
    assert sorted(os.listdir(folder)) == before
    if "check_size" in changes:
        assert error.value.__notes__ == ["after 4 of 5 images"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("images/", "list.txt"), "Missing argument 'DB_NAME'"),
        (("--backend", "sqlite", "images/", "list.txt", "db"), "'sqlite' is not one of 'lmdb', 'leveldb'"),
        (("--resize_width", "-1", "images/", "list.txt", "db"), "--resize-width"),
        (("--grey", "images/", "list.txt", "db"), "--grey"),
    ],
)
def test_options_that_make_no_sense_are_refused(folder: Path, arguments: tuple[str, ...], text: str) -> None:
    result = convert(folder, *arguments)
    assert result.code == 2, result
    assert text in result.err, result


def test_a_missing_package_is_told_with_its_extra(folder: Path) -> None:
    (folder / "sitecustomize.py").write_text("import sys\nsys.modules['lmdb'] = None\n")
    env = environment(PYTHONPATH=str(folder))
    result = farlayer("convert-imageset", "images/", "list.txt", "db", cwd=folder, env=env)
    refused(result, "needs the package lmdb", "remedy: python -m pip install 'farlayer[lmdb]'")


def test_an_interruption_is_told_with_how_far_it_came_and_leaves_nothing(folder: Path) -> None:
    os.mkfifo(folder / "images" / "waits.png")
    (folder / "list.txt").write_text("0.png 0\nnone.png 0\nwaits.png 1\n")
    with running("convert-imageset", "images/", "list.txt", "db", cwd=folder) as command:
        command.wait_for("left out: image 'none.png'")
        with (folder / "images" / "waits.png").open("wb"):  # opens when the command comes to it, and lets it wait
            result = command.interrupt(signal.SIGINT)
    assert result.code == 1, result
    assert "interrupted after 2 of 3 images" in result.err
    assert "Traceback" not in result.err
    assert not list(folder.glob("*db*"))
    assert not list(folder.glob(".db*"))


def test_a_terminal_shows_a_bar_which_is_gone_before_the_end_is_told(folder: Path) -> None:
    os.mkfifo(folder / "images" / "waits.png")
    (folder / "list.txt").write_text("0.png 0\nwaits.png 1\n")
    with terminal("convert-imageset", "images/", "list.txt", "db", cwd=folder) as shown:
        shown.wait_for(r"Converting \S+ +50%")
        shown.type(CTRL_C)
        assert shown.end() == 1
        assert re.search(r"interrupted after 1 of 2 images\s*$", shown.text), shown.text
