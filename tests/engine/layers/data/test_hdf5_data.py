import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.layer import Layer
from farlayer.protos.errors import NetError
from tests.engine.support import assert_nothing_is_allocated, layer_of, set_up


def write(path: Path, **datasets: object) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
    return path


def rows(first: int, count: int, *shape: int) -> np.ndarray:
    """Rows filled with their number."""
    numbers = np.arange(first, first + count, dtype=np.float32).reshape(count, *(1 for _ in shape))
    return np.broadcast_to(numbers, (count, *shape)).copy()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A list of three files of 4, 1 and 3 rows, numbered through."""
    paths = [
        write(tmp_path / f"{index}.h5", data=rows(first, count, 2, 3), label=rows(100 + first, count))
        for index, (first, count) in enumerate([(0, 4), (4, 1), (5, 3)])
    ]
    return list_of(tmp_path, *paths)


def list_of(folder: Path, *paths: Path) -> Path:
    path = folder / "list.txt"
    path.write_text("\n".join(map(str, paths)) + "\n")
    return path


def hdf5_data(source: Path, more: str = "batch_size: 3", tops: tuple[str, ...] = ("data", "label")) -> str:
    names = " ".join(f'top: "{name}"' for name in tops)
    return f'type: "HDF5Data" {names} hdf5_data_param {{ source: "{source}" {more} }}'


def running(text: str, num_top: int = 2, seed: int = 1) -> tuple[Layer, list[Blob]]:
    layer = layer_of(text, seed=seed)
    return layer, set_up(layer, [], num_top)


def numbers(layer: Layer, top: list[Blob]) -> list[int]:
    """The numbers of the rows of the next batch."""
    layer.run_forward([], top)
    np.testing.assert_array_equal(top[1].data.reshape(-1), 100 + top[0].data.reshape(len(top[0].data), -1)[:, 0])
    assert (top[0].data == top[0].data.reshape(len(top[0].data), -1)[:, 0].reshape(-1, 1, 1)).all()
    return [int(row.flat[0]) for row in top[0].data]


def test_batches_go_through_rows_and_files_and_begin_anew(source: Path) -> None:
    layer, top = running(hdf5_data(source))
    assert [blob.shape for blob in top] == [(3, 2, 3), (3,)]
    batches = [numbers(layer, top) for _ in range(4)]
    assert batches == [[0, 1, 2], [3, 4, 5], [6, 7, 0], [1, 2, 3]]


def test_a_batch_may_be_longer_than_all_files(source: Path) -> None:
    layer, top = running(hdf5_data(source, "batch_size: 20"))
    assert numbers(layer, top) == [*range(8), *range(8), *range(4)]


def test_tops_are_datasets_by_name_with_any_axes_and_types(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((5, 1, 2, 1, 3, 2))
    path = write(tmp_path / "a.h5", x=values, y=np.arange(5, dtype=np.uint8), z=np.float16([[1.5]] * 5), unused="text")
    layer, top = running(hdf5_data(list_of(tmp_path, path), "batch_size: 5", ("z", "x", "y")), num_top=3)
    layer.run_forward([], top)
    np.testing.assert_array_equal(top[0].data, [[1.5]] * 5)
    np.testing.assert_array_equal(top[1].data, values.astype(np.float32))
    np.testing.assert_array_equal(top[2].data, np.arange(5))


def test_shuffling_mixes_files_and_rows_and_the_seed_decides(source: Path) -> None:
    text = hdf5_data(source, "batch_size: 8 shuffle: true")
    layer, top = running(text, seed=3)
    rounds = [numbers(layer, top) for _ in range(6)]
    for each in rounds:
        assert sorted(each) == list(range(8))
        places = {number: place for place, number in enumerate(each)}
        for file in (range(4), range(5, 8)):
            spread = [places[number] for number in file]
            assert max(spread) - min(spread) == len(file) - 1, "a file is read to its end"
    assert len({tuple(each) for each in rounds}) > 3
    layer, top = running(text, seed=3)
    assert [numbers(layer, top) for _ in range(6)] == rounds


def test_shuffling_one_file_gives_new_orders_too(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", data=rows(0, 6, 2, 3), label=rows(100, 6))
    layer, top = running(hdf5_data(list_of(tmp_path, path), "batch_size: 6 shuffle: true"))
    rounds = [tuple(numbers(layer, top)) for _ in range(5)]
    assert {tuple(sorted(each)) for each in rounds} == {tuple(range(6))}
    assert len(set(rounds)) > 2


def test_a_single_file_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", data=rows(0, 4, 2, 3), label=rows(100, 4))
    layer, top = running(hdf5_data(list_of(tmp_path, path)))
    path.unlink()
    assert [numbers(layer, top) for _ in range(2)] == [[0, 1, 2], [3, 0, 1]]


@pytest.mark.parametrize("shuffle", ["true", "false"])
def test_a_steady_state_allocates_nothing(tmp_path: Path, shuffle: str) -> None:
    path = write(tmp_path / "a.h5", data=rows(0, 100, 400))
    text = hdf5_data(list_of(tmp_path, path), f"batch_size: 80 shuffle: {shuffle}", ("data",))
    assert_nothing_is_allocated(layer_of(text), [], 1)


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        (
            {"data": [[1.0]], "lable": [1.0]},
            r"the HDF5 file '.*a\.h5' has no dataset 'label'; it has: 'data', 'lable'",
        ),
        ({"data": [1.0, 2.0], "label": [1.0]}, r"dataset 'label' has 1 rows, but 'data' has 2"),
        ({"data": [b"text"], "label": [1.0]}, r"dataset 'data' holds object, expected floats or whole numbers"),
        ({"data": [True], "label": [1.0]}, r"dataset 'data' holds bool"),
        ({"data": 1.0, "label": [1.0]}, r"dataset 'data' has no rows: its shape is \(\)"),
        ({"data": np.zeros((0, 3)), "label": [1.0]}, r"dataset 'data' has no rows: its shape is \(0, 3\)"),
        ({"data/inner": [1.0], "label": [1.0]}, r"has no dataset 'data'; it has: 'label'"),
    ],
)
def test_datasets_that_do_not_fit_are_refused(tmp_path: Path, datasets: dict[str, object], message: str) -> None:
    path = write(tmp_path / "a.h5", **datasets)
    with pytest.raises(NetError, match=rf"^layer 'l' \(HDF5Data\): .*{message}") as error:
        running(hdf5_data(list_of(tmp_path, path)))
    assert error.value.remedy


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (hdf5_data(Path("/nowhere/list")), "the list of HDF5 files: cannot read '/nowhere/list'"),
        ('type: "HDF5Data" top: "data" hdf5_data_param { batch_size: 1 }', "hdf5_data_param.source is missing"),
        (hdf5_data(Path("/nowhere/list"), ""), "batch_size is 0, expected 1 or more"),
        (hdf5_data(Path("x")) + " transform_param { scale: 2 }", "transform_param is given, but HDF5 data are not"),
    ],
)
def test_bad_parameters_are_refused(text: str, message: str) -> None:
    with pytest.raises(NetError, match=rf"^layer 'l' \(HDF5Data\): .*{message}"):
        running(text)


def test_files_that_are_empty_missing_or_no_hdf5_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NetError, match=r"the list of HDF5 files '.*' is empty"):
        running(hdf5_data(list_of(tmp_path)))
    with pytest.raises(NetError, match=r"the HDF5 file '/nowhere/a\.h5': No such file"):
        running(hdf5_data(list_of(tmp_path, Path("/nowhere/a.h5"))))
    whole = write(tmp_path / "a.h5", data=rows(0, 100, 20), label=rows(0, 100)).read_bytes()
    for content in (b"", b"no HDF5", whole[: len(whole) // 2]):
        (tmp_path / "b.h5").write_bytes(content)
        with pytest.raises(NetError, match=rf"the HDF5 file '{tmp_path}/b\.h5'"):
            running(hdf5_data(list_of(tmp_path, tmp_path / "b.h5")))


def test_a_later_file_with_other_rows_is_refused_when_it_is_reached(source: Path) -> None:
    write(source.parent / "1.h5", data=rows(4, 1, 2, 4), label=rows(104, 1))
    layer, top = running(hdf5_data(source))
    assert numbers(layer, top) == [0, 1, 2]
    message = r"the HDF5 file '.*1\.h5': dataset 'data' has rows of shape \(2, 4\), but in the first file \(2, 3\)"
    with pytest.raises(NetError, match=rf"^layer 'l' \(HDF5Data\): {message}"):
        layer.run_forward([], top)


def test_a_missing_package_is_told_with_the_layer_and_the_extra(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(NetError, match=r"^layer 'l' \(HDF5Data\): an HDF5 file needs the package h5py") as error:
        running(hdf5_data(source))
    assert "farlayer[hdf5]" in error.value.remedy


def test_a_file_of_data_in_the_place_of_the_list_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", data=rows(0, 1), label=rows(0, 1))
    with pytest.raises(NetError, match=r"'.*a\.h5' is an HDF5 file itself, expected a text with the paths"):
        running(hdf5_data(path))
