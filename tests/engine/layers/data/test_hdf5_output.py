import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.layer import Layer
from farlayer.protos.errors import NetError
from tests.engine.support import assert_untouched, blob_of, layer_of, native_net, random_blob, set_up, untouched


def output(path: Path) -> Layer:
    return layer_of(f'type: "HDF5Output" hdf5_output_param {{ file_name: "{path}" }}')


def written(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with h5py.File(path, "r") as file:
        assert sorted(file) == ["data", "label"]
        return file["data"][()], file["label"][()]


def forward(path: Path, *batches: tuple[Blob, Blob]) -> None:
    layer = output(path)
    set_up(layer, batches[0], 0)
    for bottom in batches:
        layer.run_forward(bottom, [])
    layer.close()


@pytest.mark.parametrize("shape", [(2,), (2, 3), (2, 3, 4, 5)])
def test_blobs_are_written_with_four_axes_as_float32(tmp_path: Path, shape: tuple[int, ...]) -> None:
    data, label = random_blob(*shape), random_blob(2)
    forward(tmp_path / "out.h5", (data, label))
    found = written(tmp_path / "out.h5")
    assert found[0].dtype == np.float32
    np.testing.assert_array_equal(found[0], data.data.reshape(*shape, *[1] * (4 - len(shape))))
    np.testing.assert_array_equal(found[1], label.data.reshape(2, 1, 1, 1))


def test_more_axes_stay(tmp_path: Path) -> None:
    forward(tmp_path / "out.h5", (random_blob(2, 1, 3, 1, 2, 2), random_blob(2)))
    assert written(tmp_path / "out.h5")[0].shape == (2, 1, 3, 1, 2, 2)


def test_every_forward_adds_its_rows_also_none(tmp_path: Path) -> None:
    batches = [(random_blob(count, 3, seed=count), random_blob(count, seed=count)) for count in (0, 4, 0, 1, 2)]
    forward(tmp_path / "out.h5", *batches)
    data, label = written(tmp_path / "out.h5")
    np.testing.assert_array_equal(data[:, :, 0, 0], np.concatenate([bottom[0].data for bottom in batches]))
    np.testing.assert_array_equal(label[:, 0, 0, 0], np.concatenate([bottom[1].data for bottom in batches]))


def test_a_file_that_is_there_is_replaced(tmp_path: Path) -> None:
    for value in (1, 2):
        forward(tmp_path / "out.h5", (blob_of([[value]]), blob_of([value])))
    np.testing.assert_array_equal(written(tmp_path / "out.h5")[0], [[[[2]]]])


def test_what_it_writes_hdf5_data_reads(tmp_path: Path) -> None:
    (tmp_path / "list").write_text(str(tmp_path / "out.h5"))
    data, label = random_blob(4, 3, 2, 2), random_blob(4)
    forward(tmp_path / "out.h5", (data, label))
    text = f'type: "HDF5Data" top: "data" top: "label" hdf5_data_param {{ source: "{tmp_path}/list" batch_size: 4 }}'
    reader = layer_of(text)
    top = set_up(reader, [], 2)
    reader.run_forward([], top)
    np.testing.assert_array_equal(top[0].data, data.data)
    np.testing.assert_array_equal(top[1].data.ravel(), label.data)


def test_a_net_with_it_runs_and_the_bottoms_get_no_gradient(tmp_path: Path) -> None:
    text = f"""
        layer {{ name: "in" type: "Input" top: "x" top: "y"
                 input_param {{ shape {{ dim: 2 dim: 3 }} shape {{ dim: 2 }} }} }}
        layer {{ name: "out" type: "HDF5Output" bottom: "x" bottom: "y"
                 hdf5_output_param {{ file_name: "{tmp_path}/out.h5" }} }}
    """
    with native_net(text) as net:
        net.blobs["x"].data[...] = 3
        untouched(net.blobs["x"])
        net.forward()
        net.backward()
        assert_untouched(net.blobs["x"])
        np.testing.assert_array_equal(written(tmp_path / "out.h5")[0], np.full((2, 3, 1, 1), 3))


def test_rows_of_another_shape_than_before_are_refused(tmp_path: Path) -> None:
    layer = output(tmp_path / "out.h5")
    bottom = [random_blob(2, 3), random_blob(2)]
    set_up(layer, bottom, 0)
    layer.run_forward(bottom, [])
    bottom[0].reshape(2, 4)
    message = r"rows of shape \(4, 1, 1\) come to dataset 'data', whose rows so far have shape \(3, 1, 1\)"
    with pytest.raises(NetError, match=rf"^layer 'l' \(HDF5Output\): .*{message}"):
        layer.run_forward(bottom, [])
    layer.close()


@pytest.mark.parametrize("bottom", [[random_blob(2, 3), random_blob(3)], [random_blob(), random_blob()]])
def test_bottoms_of_different_length_are_refused(tmp_path: Path, bottom: list[Blob]) -> None:
    layer = output(tmp_path / "out.h5")
    with pytest.raises(
        NetError, match=r"^layer 'l' \(HDF5Output\): the bottoms have shapes .*, expected the same first"
    ):
        set_up(layer, bottom, 0)
    layer.close()


def test_other_numbers_of_blobs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NetError, match=r"takes exactly 2 bottom blob\(s\), got 1"):
        set_up(output(tmp_path / "out.h5"), [random_blob(2)], 0)
    with pytest.raises(NetError, match=r"takes exactly 0 top blob\(s\), got 1"):
        set_up(output(tmp_path / "out.h5"), [random_blob(2), random_blob(2)], 1)


@pytest.mark.parametrize(
    ("path", "message"), [("", "file_name is missing"), ("/nowhere/out.h5", r"'/nowhere/out\.h5': No such file")]
)
def test_a_file_that_cannot_be_made_is_told(path: str, message: str) -> None:
    layer = layer_of(f'type: "HDF5Output" hdf5_output_param {{ file_name: "{path}" }}')
    with pytest.raises(NetError, match=rf"^layer 'l' \(HDF5Output\): .*{message}"):
        set_up(layer, [random_blob(2), random_blob(2)], 0)
    layer.close()


def test_a_missing_package_is_told_with_the_layer_and_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(NetError, match=r"^layer 'l' \(HDF5Output\): an HDF5 file needs the package h5py") as error:
        set_up(output(tmp_path / "out.h5"), [random_blob(2), random_blob(2)], 0)
    assert "farlayer[hdf5]" in error.value.remedy
