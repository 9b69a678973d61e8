import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from farlayer.engine.hdf5 import numbers_of, reading, writing
from farlayer.protos.errors import InputError, SnapshotError


def test_a_missing_package_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match="needs the package h5py") as caught, writing(tmp_path / "f"):
        pass
    assert "farlayer[hdf5]" in caught.value.remedy
    assert not list(tmp_path.iterdir())


def test_a_file_comes_back(tmp_path: Path) -> None:
    with writing(tmp_path / "f") as file:
        file["a/b"] = np.arange(3, dtype=np.float32)
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    with reading(tmp_path / "f", "file", remedy="r") as file:
        np.testing.assert_array_equal(numbers_of(file["a"], "b", "the file"), [0, 1, 2])


@pytest.mark.parametrize("size", [0, 4, 700])
def test_a_truncated_file_is_told(tmp_path: Path, size: int) -> None:
    with writing(tmp_path / "f") as file:
        file["a"] = np.zeros(1000)
    (tmp_path / "f").write_bytes((tmp_path / "f").read_bytes()[:size])
    with (
        pytest.raises(SnapshotError, match=r"the weights file '.*f' is truncated or no HDF5 file: ") as caught,
        reading(tmp_path / "f", "weights file", remedy="copy it again"),
    ):
        pass
    assert caught.value.remedy == "copy it again"


FULL_DISK = """
import resource
import sys
from pathlib import Path

import numpy as np

from farlayer.engine.hdf5 import writing
from farlayer.protos.errors import SnapshotError

resource.setrlimit(resource.RLIMIT_FSIZE, (16 << 10, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
try:
    with writing(Path(sys.argv[1])) as file:
        file["a"] = np.zeros(1 << 20)
except SnapshotError as error:
    print(error)
"""


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """Files of at most 16 KiB, as if the disk were full; in a process of its own, as pytest may write a file, too."""
    (tmp_path / "folder").mkdir()
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "folder" / "f")]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert finished.returncode == 0, finished.stderr
    assert re.search(r"cannot write '.*f'", finished.stdout), finished
    assert "room" in finished.stdout
    assert not list((tmp_path / "folder").iterdir())


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("none", "there is none"),
        ("group", "it is <HDF5 group"),
        ("text", "it is <HDF5 dataset"),
        ("null", "it is <HDF5"),
    ],
)
def test_what_is_no_dataset_of_numbers_is_told(tmp_path: Path, name: str, found: str) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "f", "w") as file:
        file.create_group("group")
        file["text"] = "words"
        file["null"] = h5py.Empty("f4")
        with pytest.raises(SnapshotError, match=rf"the file: expected a dataset of numbers at '/{name}', but {found}"):
            numbers_of(file, name, "the file")


def test_a_binary_file_with_the_suffix_of_hdf5_is_told(tmp_path: Path) -> None:
    (tmp_path / "w.h5").write_bytes(b"\x0a\x06the net")
    with (
        pytest.raises(SnapshotError, match="no HDF5 file") as caught,
        reading(tmp_path / "w.h5", "weights file", remedy="copy it again"),
    ):
        pass
    assert caught.value.remedy.startswith("copy it again; ")
    assert "take .h5 off its name" in caught.value.remedy
