"""What the tests of data share: small images, databases and batches."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farlayer.blobs.blob import Blob
from farlayer.engine.blob_proto import blob_to_proto
from farlayer.engine.data.databases import Backend
from farlayer.engine.data.images import Pixels
from farlayer.engine.layer import Layer
from farlayer.protos import caffe_pb2
from tests.engine.support import blob_of, layer_of, set_up

BACKENDS: tuple[Backend, ...] = ("lmdb", "leveldb")


def image(height: int, width: int, channels: int = 3, *, seed: int = 0) -> Pixels:
    """Random pixels: (height, width, channels)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def datum_of(planes: NDArray[np.uint8], label: int | None = 0) -> caffe_pb2.Datum:
    """A Datum of plain pixels, (channels, height, width), with the fields that anybody's script sets."""
    channels, height, width = planes.shape
    datum = caffe_pb2.Datum(channels=channels, height=height, width=width, data=planes.tobytes())
    if label is not None:
        datum.label = label
    return datum


def write_database(path: Path, backend: Backend, records: dict[str, bytes]) -> Path:
    """Writes a database by the package itself."""
    if backend == "lmdb":
        import lmdb

        with lmdb.open(str(path), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
            for key, value in records.items():
                transaction.put(key.encode(), value)
    else:
        import plyvel

        database = plyvel.DB(str(path), create_if_missing=True)
        for key, value in records.items():
            database.put(key.encode(), value)
        database.close()
    return path


def write_datums(path: Path, backend: Backend, datums: list[caffe_pb2.Datum]) -> Path:
    """Writes a database of Datum messages."""
    records = {f"{index:08}": datum.SerializeToString() for index, datum in enumerate(datums)}
    return write_database(path, backend, records)


def write_mean(path: Path, mean: NDArray[np.float32]) -> Path:
    """Writes a mean file."""
    path.write_bytes(blob_to_proto(blob_of(mean[np.newaxis])).SerializeToString())
    return path


def write_png(path: Path, pixels: Pixels) -> Path:
    """Writes an image in OpenCV's channel order to a file without loss."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels[:, :, ::-1].copy()).save(path)
    return path


@contextmanager
def running(text: str, num_top: int = 2, **options: int) -> Iterator[tuple[Layer, list[Blob]]]:
    """A data layer that is set up, with its tops; closed at the end. Options are those of `layer_of`."""
    layer = layer_of(text, **options)  # type: ignore[arg-type]
    try:
        yield layer, set_up(layer, [], num_top)
    finally:
        layer.close()


def forward(layer: Layer, top: list[Blob]) -> list[Blob]:
    """Runs such a layer for the next batch; the tops."""
    layer.run_forward([], top)
    return top
