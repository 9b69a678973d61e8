from pathlib import Path

import numpy as np
import pytest

from farlayer.engine.data.mean_image import read_mean_image, write_mean_image
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import InputError

MEAN = np.random.default_rng(0).random((3, 4, 5), np.float32)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = str(tmp_path / "mean.binaryproto")
    write_mean_image(path, MEAN)
    np.testing.assert_array_equal(read_mean_image(path), MEAN)


def test_it_is_written_as_caffe_does_it(tmp_path: Path) -> None:
    path = tmp_path / "mean.binaryproto"
    write_mean_image(str(path), MEAN)
    proto = caffe_pb2.BlobProto.FromString(path.read_bytes())
    assert (proto.num, proto.channels, proto.height, proto.width) == (1, 3, 4, 5)
    assert not proto.HasField("shape")
    assert path.read_bytes().endswith(MEAN.tobytes())


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (caffe_pb2.BlobProto(), r"shape \(\)"),
        (caffe_pb2.BlobProto(shape=caffe_pb2.BlobShape(dim=[3, 2]), data=[0] * 6), r"shape \(3, 2\)"),
        (caffe_pb2.BlobProto(num=2, channels=1, height=1, width=1, data=[0] * 2), r"shape \(2, 1, 1, 1\)"),
        (caffe_pb2.BlobProto(num=1, channels=1, height=2, width=2, data=[0] * 3), r"holds 3 values .* expected 4"),
        (caffe_pb2.BlobProto(num=1, channels=0, height=2, width=2), r"shape \(1, 0, 2, 2\)"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path: Path, proto: caffe_pb2.BlobProto, message: str) -> None:
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(InputError, match=message) as caught:
        read_mean_image(str(path))
    assert str(path) in caught.value.message
    assert "compute-image-mean" in caught.value.remedy


def test_missing_and_truncated_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mean.binaryproto"
    with pytest.raises(InputError, match=f"mean file '{path}': No such file"):
        read_mean_image(str(path))
    write_mean_image(str(path), MEAN)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(InputError, match=f"mean file '{path}' is truncated"):
        read_mean_image(str(path))


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write") as error:
        write_mean_image(str(tmp_path / "missing" / "mean"), MEAN)
    assert "folder" in error.value.remedy
