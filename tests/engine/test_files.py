from pathlib import Path

import pytest

from farlayer.engine.files import read_whole, write_atomically
from farlayer.protos.errors import SnapshotError


def test_a_written_file_replaces_the_old_one_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "f"
    for content in (b"old", b"new"):
        write_atomically(path, content)
        assert read_whole(path, "file") == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    write_atomically(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SnapshotError, match=r"cannot write .*f': No space left on device") as caught:
        write_atomically(path, b"new")
    assert caught.value.remedy
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="No such file or directory"):
        write_atomically(tmp_path / "missing" / "f", b"")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match=r"cannot read the weights file .*missing"):
        read_whole(tmp_path / "missing", "weights file")


@pytest.mark.parametrize(("name", "content"), [("f", b"\x89HDF\r\n\x1a\n..."), ("f.h5", b""), ("f.hdf5", b"x")])
def test_hdf5_is_refused_as_such(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SnapshotError, match="HDF5 file, which this version does not read") as caught:
        read_whole(tmp_path / name, "file")
    assert "later version" in caught.value.remedy
