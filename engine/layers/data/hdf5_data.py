"""HDF5Data: blobs from the datasets of HDF5 files."""

from __future__ import annotations

from farlayer.engine.data.hdf5_rows import HDF5Rows, read_file_list
from farlayer.engine.layer import Blobs, Layer
from farlayer.engine.layers.data.data_source import given, named_errors, positive
from farlayer.engine.registry import register


@register("HDF5Data")
class HDF5DataLayer(Layer):
    """Reads rows of HDF5 files, file by file, over and over.

    top[i]: (batch_size, further axes of the dataset named as the top). A batch may hold rows of several files.
    source: a list of the files. shuffle: files, and the rows of each, come in a random order, new each time.
    Source: Caffe, src/caffe/layers/hdf5_data_layer.cpp.
    """

    exact_num_bottom = 0
    min_num_top = 1

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.hdf5_data_param
        if self.param.HasField("transform_param"):
            raise self.error("transform_param is given, but HDF5 data are not transformed", remedy="remove it")
        batch_size = positive(self, param.batch_size, "hdf5_data_param.batch_size")
        source = given(self, param.source, "hdf5_data_param.source")
        with named_errors(self):
            files = read_file_list(source)
            self._rows = HDF5Rows(files, self.param.top, self.context.rng if param.shuffle else None)
        for blob, shape in zip(top, self._rows.shapes, strict=True):
            blob.reshape(batch_size, *shape)

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Nothing: shapes are fixed at setup."""

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        with named_errors(self):
            self._rows.fill([blob.data for blob in top])
