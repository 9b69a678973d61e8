"""farlayer compute-image-mean as its users run it."""

import re
from pathlib import Path

import numpy as np
import pytest

from farlayer.cli.compute_image_mean import run_mean
from farlayer.cli.console import Screen
from farlayer.cli.options import Backend
from farlayer.engine.data.mean_image import read_mean_image
from farlayer.protos.errors import InputError
from tests.cli.command import farlayer
from tests.engine.data.support import datum_of, image, write_database, write_datums

COUNT = 5


def planes(index: int, height: int = 6) -> np.ndarray:
    return image(height, 8, seed=index).transpose(2, 0, 1)


def test_the_mean_is_written_and_told(tmp_path: Path) -> None:
    write_datums(tmp_path / "db", "lmdb", [datum_of(planes(index)) for index in range(COUNT)])
    result = farlayer("compute-image-mean", "-backend=lmdb", "db", "mean.binaryproto", cwd=tmp_path)
    assert result.code == 0, result
    expected = np.mean([planes(index) for index in range(COUNT)], axis=0)
    np.testing.assert_allclose(read_mean_image(str(tmp_path / "mean.binaryproto")), expected, rtol=1e-6)
    told = [float(value) for value in re.findall(r"^Channel \d +mean_value: (\S+)$", result.out, re.MULTILINE)]
    np.testing.assert_allclose(told, expected.mean(axis=(1, 2)), rtol=1e-5)
    assert re.search(r"^Images +5 of shape \(3, 6, 8\)$", result.out, re.MULTILINE), result
    assert re.search(r"^Mean image +mean.binaryproto$", result.out, re.MULTILINE), result


def test_without_a_file_the_means_are_told_alone(tmp_path: Path) -> None:
    write_datums(tmp_path / "db", "leveldb", [datum_of(planes(0))])
    result = farlayer("compute-image-mean", "--backend", "leveldb", "db", cwd=tmp_path)
    assert result.code == 0, result
    assert "Channel 2" in result.out
    assert [path.name for path in tmp_path.iterdir()] == ["db"]


def test_a_bad_database_ends_with_exit_code_2(tmp_path: Path) -> None:
    result = farlayer("compute-image-mean", "nowhere", cwd=tmp_path)
    assert result.code == 2, result
    assert "error: the database 'nowhere' does not exist" in result.err
    assert "remedy: " in result.err


@pytest.mark.parametrize(
    ("database", "backend", "message"),
    [
        ("mixed", "lmdb", r"record '00000002' of 'mixed' has channels, height and width \(3, 7, 8\)"),
        ("mixed", "leveldb", "the database 'mixed' is not of the backend LEVELDB but LMDB"),
        ("empty", "lmdb", "the database is empty"),
        ("damaged", "lmdb", "record 'x' of 'damaged' is truncated or no Datum message"),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: str, backend: Backend, message: str
) -> None:
    write_datums(
        tmp_path / "mixed", "lmdb", [datum_of(planes(index, height)) for index, height in enumerate((6, 6, 7))]
    )
    write_database(tmp_path / "empty", "lmdb", {})
    write_database(tmp_path / "damaged", "lmdb", {"x": b"\xff"})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as error:
        run_mean(database, "mean", backend, Screen.make())
    assert error.value.remedy
    assert not (tmp_path / "mean").exists()
    if message.startswith("record '00000002'"):
        assert error.value.__notes__ == ["after 2 images"]


def test_a_missing_folder_is_told_before_anything_is_read(tmp_path: Path) -> None:
    result = farlayer("compute-image-mean", "nowhere", "missing/mean", cwd=tmp_path)
    assert result.code == 2, result
    assert "the folder of 'missing/mean' does not exist" in result.err
