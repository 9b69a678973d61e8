import logging
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from farlayer.engine.data.databases import Backend
from farlayer.engine.data.pillow_images import PillowImages
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError
from tests.engine.data.support import (
    BACKENDS,
    datum_of,
    forward,
    image,
    running,
    write_database,
    write_datums,
    write_mean,
)
from tests.engine.support import assert_nothing_is_allocated, layer_of, native_net

both = pytest.mark.parametrize("backend", BACKENDS)


def planes(seed: int, height: int = 6, width: int = 8, channels: int = 3) -> np.ndarray:
    return image(height, width, channels, seed=seed).transpose(2, 0, 1)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An LMDB of five images, whose labels count down from 9."""
    return write_datums(tmp_path / "db", "lmdb", [datum_of(planes(index), 9 - index) for index in range(5)])


def data(source: Path, *, batch_size: int = 2, backend: Backend = "lmdb", more: str = "", transform: str = "") -> str:
    return (
        f'type: "Data" data_param {{ source: "{source}" backend: {backend.upper()} batch_size: {batch_size} {more} }} '
        f"transform_param {{ {transform} }}"
    )


def labels(text: str, count: int, **options: int) -> list[list[float]]:
    with running(text, **options) as (layer, top):
        return [forward(layer, top)[1].data.tolist() for _ in range(count)]


@both
@pytest.mark.parametrize("prefetch", [0, 1, 4])
def test_batches_follow_the_keys_and_begin_anew_at_the_end(tmp_path: Path, backend: Backend, prefetch: int) -> None:
    path = write_datums(tmp_path / "db", backend, [datum_of(planes(index), 9 - index) for index in range(5)])
    with running(data(path, backend=backend, more=f"prefetch: {prefetch}")) as (layer, top):
        assert [blob.shape for blob in top] == [(2, 3, 6, 8), (2,)]
        for first in (0, 2, 4, 1, 3, 0):
            forward(layer, top)
            numbers = [first, (first + 1) % 5]
            np.testing.assert_array_equal(top[0].data, [planes(number) for number in numbers])
            np.testing.assert_array_equal(top[1].data, [9 - number for number in numbers])


def test_the_labels_may_be_left_out(source: Path) -> None:
    with running(data(source), num_top=1) as (layer, top):
        np.testing.assert_array_equal(forward(layer, top)[0].data, [planes(0), planes(1)])


def test_floats_are_read(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((4, 10), dtype=np.float32)
    datums = [caffe_pb2.Datum(channels=10, height=1, width=1, float_data=row.tolist(), label=1) for row in values]
    with running(data(write_datums(tmp_path / "db", "lmdb", datums), batch_size=4)) as (layer, top):
        np.testing.assert_array_equal(forward(layer, top)[0].data, values.reshape(4, 10, 1, 1))


def test_the_transformation_of_the_net_is_applied(source: Path, tmp_path: Path) -> None:
    mean = np.random.default_rng(1).random((3, 6, 8), np.float32)
    write_mean(tmp_path / "mean", mean)
    transform = f'crop_size: 4 scale: 0.5 mean_file: "{tmp_path}/mean"'
    with running(data(source, transform=transform), phase=caffe_pb2.TEST) as (layer, top):
        expected = [((planes(index) - mean) * 0.5)[:, 1:5, 2:6] for index in range(2)]
        np.testing.assert_array_equal(forward(layer, top)[0].data, np.float32(expected))


def test_fields_at_their_older_place_count(source: Path) -> None:
    with running(data(source, more="scale: 0.5 crop_size: 4"), phase=caffe_pb2.TEST) as (layer, top):
        expected = [planes(index)[:, 1:5, 2:6] * np.float32(0.5) for index in range(2)]
        np.testing.assert_array_equal(forward(layer, top)[0].data, expected)


@pytest.mark.parametrize(
    ("more", "transform", "channels"),
    [
        ("", "", 4),
        ("", "force_color: true", 3),
        ("", "force_gray: true", 1),
        ("force_encoded_color: true", "", 3),
    ],
)
def test_images_kept_as_files_are_decoded(tmp_path: Path, more: str, transform: str, channels: int) -> None:
    pixels = image(6, 8, 4)
    datum = caffe_pb2.Datum(encoded=True, label=3, data=PillowImages().encode(pixels, "png"))
    path = write_datums(tmp_path / "db", "lmdb", [datum])
    with running(data(path, batch_size=1, more=more, transform=transform)) as (layer, top):
        assert top[0].shape == (1, channels, 6, 8)
        forward(layer, top)
        if channels > 1:
            np.testing.assert_array_equal(top[0].data[0], pixels.transpose(2, 0, 1)[:channels])


def test_each_batch_has_the_shape_of_its_first_image(tmp_path: Path) -> None:
    path = write_datums(tmp_path / "db", "lmdb", [datum_of(planes(0, 3, 4)), datum_of(planes(1, 5, 6))])
    with running(data(path, batch_size=1)) as (layer, top):
        assert top[0].shape == (1, 3, 3, 4)
        for shape in ((3, 4), (5, 6), (3, 4)):
            assert forward(layer, top)[0].shape == (1, 3, *shape)


@pytest.mark.parametrize("transform", ["crop_size: 3 mirror: true"])
def test_the_seed_gives_the_same_batches_with_a_thread_and_without(source: Path, transform: str) -> None:
    batches = []
    for prefetch, seed in ((0, 5), (4, 5), (4, 6)):
        with running(data(source, more=f"prefetch: {prefetch}", transform=transform), seed=seed) as (layer, top):
            batches.append(np.stack([forward(layer, top)[0].data.copy() for _ in range(10)]))
    np.testing.assert_array_equal(batches[0], batches[1])
    assert (batches[0] != batches[2]).any()


def test_what_other_layers_draw_changes_nothing(source: Path) -> None:
    text = data(source, transform="crop_size: 3 mirror: true")
    batches = []
    for draws in (0, 100):
        with running(text, seed=5) as (layer, top):
            forward(layer, top)
            layer.context.rng.random(draws)
            batches.append(forward(layer, top)[0].data.copy())
    np.testing.assert_array_equal(batches[0], batches[1])


def test_a_train_and_a_test_net_read_one_database(tmp_path: Path) -> None:
    for backend in BACKENDS:
        path = write_datums(tmp_path / backend, backend, [datum_of(planes(index), index) for index in range(5)])
        text = f'layer {{ name: "d" top: "x" top: "y" {data(path, backend=backend)} }}'
        with native_net(text) as train, native_net(text, caffe_pb2.TEST) as test:
            for net in (train, test, train):
                net.forward()
            assert train.blobs["y"].data.tolist() == [2, 3]
            assert test.blobs["y"].data.tolist() == [0, 1]


def test_the_working_directory_may_change_before_the_first_forward(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source.parent)
    with running(data(Path(source.name))) as (layer, top):
        monkeypatch.chdir("/")
        assert forward(layer, top)[1].data.tolist() == [9, 8]


def test_a_net_that_is_closed_leaves_no_thread_and_no_file(source: Path) -> None:
    before = threading.active_count()
    net = native_net(f'layer {{ name: "d" top: "x" {data(source)} }}')
    assert threading.active_count() == before, "the thread starts with the first forward"
    net.forward()
    assert threading.active_count() == before + 1
    net.close()
    assert threading.active_count() == before
    with pytest.raises(NetError, match=r"layer 'd' \(Data\): its data are closed"):
        net.forward()


@pytest.mark.parametrize("prefetch", [0, 2])  # more are not all allocated after the two forwards of the check
def test_a_steady_state_allocates_nothing(tmp_path: Path, prefetch: int) -> None:
    path = write_datums(tmp_path / "db", "lmdb", [datum_of(planes(index, 32, 32)) for index in range(100)])
    layer = layer_of(data(path, batch_size=100, more=f"prefetch: {prefetch}", transform="mirror: true mean_value: 3"))
    assert_nothing_is_allocated(layer, [], 2)
    layer.close()


def test_rand_skip_is_told_to_have_no_effect(source: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert labels(data(source, more="rand_skip: 5"), 1) == [[9, 8]]
    assert "rand_skip has no effect" in caplog.text


def test_a_database_that_is_empty_is_refused(tmp_path: Path) -> None:
    for backend in BACKENDS:
        path = write_database(tmp_path / backend, backend, {})
        with pytest.raises(NetError, match=rf"layer 'l' \(Data\): the database '{path}' is empty"):
            labels(data(path, backend=backend), 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch_size: 0", "data_param.batch_size is 0, expected 1 or more"),
        ("", "data_param.batch_size is 0"),
        ('batch_size: 1 source: "/nowhere/db" backend: LMDB', "the database '/nowhere/db' does not exist"),
        ("batch_size: 1", "data_param.source is missing"),
        ('batch_size: 1 source: "/nowhere/db"', "the database '/nowhere/db' does not exist"),
    ],
)
def test_bad_parameters_are_refused(text: str, message: str) -> None:
    with pytest.raises(NetError, match=rf"^layer 'l' \(Data\): {message}") as error:
        labels(f'type: "Data" data_param {{ {text} }}', 0)
    assert error.value.layer == "l"
    assert error.value.remedy


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ("crop_size: 7", r"record '00000000' of '.*db' is 3 x 6 x 8 .*, smaller than the crop of 7 x 7"),
        ("mean_value: 1 mean_value: 2", "has 3 channels, but mean_value is given 2 times"),
        ('mean_file: "/nowhere/mean"', "mean file '/nowhere/mean': No such file"),
        ("force_color: true force_gray: true", "both force_color and force_gray"),
    ],
)
def test_a_transformation_that_does_not_fit_is_refused_at_setup(source: Path, transform: str, message: str) -> None:
    with pytest.raises(NetError, match=rf"^layer 'l' \(Data\): .*{message}"):
        labels(data(source, transform=transform), 0)


def test_a_wrong_number_of_tops_is_refused(source: Path) -> None:
    for num_top in (0, 3):
        with pytest.raises(NetError, match=r"takes 1 to 2 top blob\(s\)"), running(data(source), num_top=num_top):
            pytest.fail("not reached")


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize(
    ("record", "message"),
    [
        (datum_of(planes(0)).SerializeToString()[:50], r"truncated or no Datum message \(50 bytes\)"),
        (datum_of(planes(0), None).SerializeToString(), "has no label, but the layer has a second top"),
        (
            datum_of(planes(0, 6, 7)).SerializeToString(),
            "becomes 3 x 6 x 7 .*, but the batch is of images that are 3 x 6 x 8",
        ),
        (datum_of(planes(0, 6, 8, 1)).SerializeToString(), "becomes 1 x 6 x 8"),
        (caffe_pb2.Datum(encoded=True, data=b"\xff\xd8nonsense", label=1).SerializeToString(), "is no image"),
        (caffe_pb2.Datum(channels=3, height=6, width=8, data=b"few", label=1).SerializeToString(), "holds 3 values"),
    ],
    ids=["truncated", "no label", "size", "channels", "encoded", "few"],
)
def test_a_bad_record_is_told_by_its_key_in_the_forward_that_meets_it(
    tmp_path: Path, record: bytes, message: str, prefetch: int
) -> None:
    records = {f"{index:08}": datum_of(planes(index)).SerializeToString() for index in range(3)}
    path = write_database(tmp_path / "db", "lmdb", {**records, "00000003_bad": record})
    with running(data(path, more=f"prefetch: {prefetch}")) as (layer, top):
        forward(layer, top)
        for _ in range(2):
            pattern = rf"^layer 'l' \(Data\): record '00000003_bad' of '{path}' .*{message}"
            with pytest.raises(NetError, match=pattern) as error:
                forward(layer, top)
            assert error.value.layer == "l"
            assert error.value.remedy


@pytest.mark.parametrize(("backend", "module"), [("lmdb", "lmdb"), ("leveldb", "plyvel")])
def test_a_missing_package_is_told_with_the_layer_and_the_extra(
    tmp_path: Path, backend: Backend, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_datums(tmp_path / "db", backend, [datum_of(planes(0))])
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(NetError, match=rf"^layer 'l' \(Data\): .*needs the package {module}") as error:
        labels(data(path, backend=backend), 0)
    assert f"pip install 'farlayer[{backend}]'" in error.value.remedy


def test_images_kept_as_files_without_a_library_are_told_with_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datum = caffe_pb2.Datum(encoded=True, label=3, data=PillowImages().encode(image(6, 8), "png"))
    path = write_datums(tmp_path / "db", "lmdb", [datum])
    for module in ("cv2", "PIL.Image"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(NetError, match=r"^layer 'l' \(Data\): .*needs OpenCV or Pillow") as error:
        labels(data(path), 0)
    assert "farlayer[image]" in error.value.remedy
