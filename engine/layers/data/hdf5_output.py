"""HDF5Output: writes blobs to an HDF5 file."""

from __future__ import annotations

from farlayer.engine.data.hdf5_files import HDF5RowWriter
from farlayer.engine.layer import Blobs, Layer
from farlayer.engine.layers.data.data_source import given, named_errors
from farlayer.engine.registry import register


@register("HDF5Output")
class HDF5OutputLayer(Layer):
    """Writes its bottoms to file_name, as the datasets "data" and "label"; a file that is there is replaced.

    bottom[0], bottom[1]: data and labels, with the same first axis; written with four axes, missing ones are 1.
    The file is complete after each forward. The bottoms get no gradient.
    Source: Caffe, src/caffe/layers/hdf5_output_layer.cpp.
    Differs from Caffe: each further forward adds its rows, where Caffe stops the process; more than four axes stay as
    they are, where Caffe refuses them.
    """

    exact_num_bottom = 2
    exact_num_top = 0
    _writer: HDF5RowWriter | None = None

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        file_name = given(self, self.param.hdf5_output_param.file_name, "hdf5_output_param.file_name")
        with named_errors(self):
            self._writer = HDF5RowWriter(file_name)

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        shapes = [blob.shape for blob in bottom]
        if not all(shapes) or shapes[0][0] != shapes[1][0]:
            raise self.error(
                f"the bottoms have shapes {shapes[0]} and {shapes[1]}, expected the same first axis",
                remedy="give data and labels of the same batch size",
            )

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        assert self._writer is not None, "setup comes first"
        with named_errors(self):
            for name, blob in zip(("data", "label"), bottom, strict=True):
                self._writer.append(name, blob.data.reshape(blob.shape + (1,) * (4 - len(blob.shape))))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
