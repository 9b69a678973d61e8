"""Mean images: read from and written to files of a BlobProto, as Caffe's compute_image_mean makes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.blob_proto import blob_from_proto
from farlayer.engine.files import read_message, write_atomically
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import InputError, SnapshotError

_AXES = 4


def read_mean_image(path: str) -> NDArray[np.float32]:
    """Reads a mean image: (channels, height, width).

    Raises:
        InputError: the file cannot be read, is damaged, or holds no image.
    """
    remedy = "make it again with farlayer compute-image-mean"
    proto = read_message(Path(path), caffe_pb2.BlobProto(), "mean file", kind="BlobProto", remedy=remedy)
    try:
        mean = blob_from_proto(proto).data
    except SnapshotError as error:
        raise InputError(f"the mean file '{path}': {error.message}", remedy=remedy) from error
    if mean.ndim != _AXES or mean.shape[0] != 1 or not mean.size:
        raise InputError(
            f"the mean file '{path}' holds a blob of shape {mean.shape}, expected (1, channels, height, width)",
            remedy=remedy,
        )
    image: NDArray[np.float32] = mean[0]
    return image


def write_mean_image(path: str, mean: NDArray[np.float32]) -> None:
    """Writes a mean image, (channels, height, width), in the form that Caffe's tool writes.

    Raises:
        InputError: the file cannot be written.
    """
    channels, height, width = mean.shape
    proto = caffe_pb2.BlobProto(num=1, channels=channels, height=height, width=width, data=mean.ravel().tolist())
    try:
        write_atomically(Path(path), proto.SerializeToString())
    except SnapshotError as error:
        raise InputError(error.message, remedy="check that its folder exists, is writable and has room") from error
