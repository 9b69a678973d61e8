import errno
import os
from pathlib import Path

import pytest
from google.protobuf.message import DecodeError

from farlayer.engine.files import decoding, is_hdf5, read_message, write_atomically, written_whole
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import SnapshotError

READ = {"kind": ".caffemodel", "remedy": "download it again"}


def test_a_written_file_replaces_the_old_one_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "f"
    for content in (b"old", b"new"):
        write_atomically(path, content[:1], memoryview(content)[1:])
        with decoding(path, "file", **READ) as read:
            assert read == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    write_atomically(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SnapshotError, match=r"cannot write .*f': No space left on device") as caught:
        write_atomically(path, b"new")
    assert caught.value.remedy
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_of_the_writer_leaves_nothing(tmp_path: Path) -> None:
    def write_half() -> None:
        with written_whole(tmp_path / "f") as temporary:
            temporary.write_bytes(b"half")
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        write_half()
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="No such file or directory"):
        write_atomically(tmp_path / "missing" / "f", b"")


def test_too_many_open_files_have_another_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_many(descriptor: int) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("os.fsync", too_many)
    with pytest.raises(SnapshotError) as caught:
        write_atomically(tmp_path / "f", b"")
    assert "ulimit -n" in caught.value.remedy


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(SnapshotError, match=r"cannot read the weights file .*missing.*: No such file"),
        decoding(tmp_path / "missing", "weights file", **READ),
    ):
        pass
    with pytest.raises(SnapshotError, match=r"cannot read the solver state .*: Is a directory"):
        is_hdf5(tmp_path, "solver state")


def test_what_cannot_be_decoded_is_told_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"123")
    with (
        pytest.raises(
            SnapshotError, match=r"the weights file .*f' is truncated or no \.caffemodel \(3 bytes\)"
        ) as caught,
        decoding(tmp_path / "f", "weights file", **READ),
    ):
        raise DecodeError("at byte 1")
    assert caught.value.remedy == "download it again"


def test_a_message_is_read_or_told(tmp_path: Path) -> None:
    expected = caffe_pb2.NetState(level=3)
    (tmp_path / "f").write_bytes(expected.SerializeToString())
    assert read_message(tmp_path / "f", caffe_pb2.NetState(), "file", **READ) == expected
    (tmp_path / "f").write_bytes(b"\x1a\x05")
    with pytest.raises(SnapshotError, match="truncated or no"):
        read_message(tmp_path / "f", caffe_pb2.NetState(), "file", **READ)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("f", b"\x89HDF\r\n\x1a\n...", True),
        ("f.caffemodel", b"\x89HDF\r\n\x1a\n...", True),
        ("f.caffemodel.h5", b"", True),
        ("f.caffemodel", b"\x0a\x01n", False),
        ("f.h5.caffemodel", b"", False),
    ],
)
def test_hdf5_is_told_by_its_first_bytes_or_its_suffix(
    tmp_path: Path, name: str, content: bytes, expected: bool
) -> None:
    (tmp_path / name).write_bytes(content)
    assert is_hdf5(tmp_path / name, "file") is expected


def test_a_text_in_the_place_of_a_binary_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "f").write_text('name: "LeNet"\nlayer {\n', encoding="utf-8")
    with (
        pytest.raises(SnapshotError, match=r"f' is a text \(22 bytes\), expected a \.caffemodel") as caught,
        decoding(tmp_path / "f", "weights file", **READ),
    ):
        raise DecodeError("at byte 1")
    assert "give the .caffemodel" in caught.value.remedy


def test_a_file_of_the_other_kind_is_told(tmp_path: Path) -> None:
    (tmp_path / "f.solverstate").write_bytes(b"\x08\x01\xff")
    with (
        pytest.raises(SnapshotError, match=r"truncated or no \.caffemodel") as caught,
        decoding(tmp_path / "f.solverstate", "weights file", **READ),
    ):
        raise DecodeError("at byte 1")
    assert caught.value.remedy == "give a .caffemodel: by its name this is a .solverstate"
