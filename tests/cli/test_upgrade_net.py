"""farlayer upgrade-net as its users run it."""

import errno
from pathlib import Path

import pytest

from farlayer.cli.console import Screen
from farlayer.cli.upgrade_net import upgrade_net
from farlayer.engine.prototxt import read_net
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import InputError
from tests.cli.command import farlayer
from tests.engine.support import net_param

OLD = """
input: "x" input_dim: 1 input_dim: 1 input_dim: 1 input_dim: 1
layers { name: "ip" type: INNER_PRODUCT bottom: "x" top: "y" inner_product_param { num_output: 1 } %s }
"""
NOW = """
layer { name: "input" type: "Input" top: "x" input_param { shape { dim: 1 dim: 1 dim: 1 dim: 1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 1 } %s }
"""
WEIGHTS = "blobs { shape { dim: 1 dim: 1 } data: 0.5 }"


def test_a_prototxt_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "old.prototxt").write_text(OLD % "", encoding="utf-8")
    result = farlayer("upgrade-net", "old.prototxt", "new.prototxt", cwd=tmp_path)
    assert result.code == 0, result
    assert "Upgraded    layers of 2014, input fields" in result.out
    assert read_net(tmp_path / "new.prototxt") == net_param(NOW % "")
    again = farlayer("upgrade-net", "new.prototxt", "newer.prototxt", cwd=tmp_path)
    assert "nothing: the net is in the present format" in again.out
    assert (tmp_path / "newer.prototxt").read_bytes() == (tmp_path / "new.prototxt").read_bytes()


def test_a_binary_keeps_its_weights(tmp_path: Path) -> None:
    (tmp_path / "old.caffemodel").write_bytes(net_param(OLD % WEIGHTS).SerializeToString())
    result = farlayer("upgrade-net", "old.caffemodel", "new.caffemodel", cwd=tmp_path)
    assert result.code == 0, result
    new = caffe_pb2.NetParameter.FromString((tmp_path / "new.caffemodel").read_bytes())
    assert new == net_param(NOW % WEIGHTS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"layers { type: NOPE }", "NOPE"),
        (b"\x00\x01garbage\xff\xff\xff", "neither a prototxt nor a .caffemodel"),
        (b'layers { layer { name: "l" type: "nope" } }', "unknown type 'nope'"),
    ],
)
def test_a_file_that_is_no_net_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "file").write_bytes(content)
    result = farlayer("upgrade-net", "file", "new", cwd=tmp_path)
    assert result.code == 2, result
    assert message in result.err
    assert not (tmp_path / "new").exists()


def test_a_missing_file_and_a_missing_folder_are_told(tmp_path: Path) -> None:
    missing = farlayer("upgrade-net", "none", "new", cwd=tmp_path)
    assert (missing.code, "'none' does not exist" in missing.err) == (2, True), missing
    (tmp_path / "net").write_text(NOW % "", encoding="utf-8")
    nowhere = farlayer("upgrade-net", "net", "no/folder/new", cwd=tmp_path)
    assert (nowhere.code, "cannot write 'no/folder/new'" in nowhere.err) == (2, True), nowhere


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the answer of the system, since root may read everything."""
    (tmp_path / "old").touch()

    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(InputError, match=r"SOURCE: cannot read '.*old': Permission denied") as caught:
        upgrade_net.callback.__wrapped__(Screen.make(), source=str(tmp_path / "old"), target="new")  # type: ignore[union-attr]
    assert caught.value.remedy
