import logging

import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.layers.data.memory_data import MemoryDataLayer
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError
from tests.engine.data.support import datum_of, image
from tests.engine.support import assert_nothing_is_allocated, layer_of, set_up

FIELDS = "batch_size: 2 channels: 3 height: 4 width: 5"


def memory_data(fields: str = FIELDS, more: str = "") -> MemoryDataLayer:
    layer = layer_of(f'type: "MemoryData" memory_data_param {{ {fields} }} {more}')
    assert isinstance(layer, MemoryDataLayer)
    return layer


def running(more: str = "") -> tuple[MemoryDataLayer, list[Blob]]:
    layer = memory_data(more=more)
    return layer, set_up(layer, [], 2)


def arrays(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((count, 3, 4, 5), dtype=np.float32), np.arange(count, dtype=np.float32)


def test_batches_go_through_the_arrays_and_begin_anew() -> None:
    layer, top = running()
    data, labels = arrays(6)
    layer.set_arrays(data, labels)
    for first in (0, 2, 4, 0):
        layer.run_forward([], top)
        np.testing.assert_array_equal(top[0].data, data[first : first + 2])
        np.testing.assert_array_equal(top[1].data.ravel(), labels[first : first + 2])


def test_labels_have_one_axis_at_setup_and_four_after_forward() -> None:
    layer, top = running()
    assert [blob.shape for blob in top] == [(2, 3, 4, 5), (2,)]
    layer.set_arrays(*arrays(2))
    layer.run_forward([], top)
    assert [blob.shape for blob in top] == [(2, 3, 4, 5), (2, 1, 1, 1)]


def test_new_arrays_begin_at_their_start() -> None:
    layer, top = running()
    data, labels = arrays(4)
    layer.set_arrays(data, labels)
    layer.run_forward([], top)
    layer.set_arrays(-data, labels.reshape(4, 1, 1, 1))
    layer.run_forward([], top)
    np.testing.assert_array_equal(top[0].data, -data[:2])


def test_float_arrays_are_kept_and_others_copied() -> None:
    layer, top = running()
    data, labels = arrays(2)
    layer.set_arrays(data, labels)
    data[...] = 7
    layer.run_forward([], top)
    assert (top[0].data == 7).all()
    layer.set_arrays(data.astype(np.float64), [3, 4])
    layer.run_forward([], top)
    assert (top[0].data == 7).all()
    assert top[1].data.ravel().tolist() == [3, 4]


def test_before_the_arrays_are_given_forward_is_refused() -> None:
    layer, top = running()
    with pytest.raises(NetError, match=r"^layer 'l' \(MemoryData\): it has no data yet") as error:
        layer.run_forward([], top)
    assert "set_arrays" in error.value.remedy


@pytest.mark.parametrize(
    ("data", "labels", "message"),
    [
        (
            np.zeros((2, 3, 4, 6)),
            np.zeros(2),
            r"shape \(2, 3, 4, 6\) and 2 labels are given, expected shape \(n, 3, 4, 5\)",
        ),
        (np.zeros((2, 60)), np.zeros(2), r"shape \(2, 60\)"),
        (np.zeros((3, 4, 5)), np.zeros(3), r"shape \(3, 4, 5\)"),
        (np.zeros((2, 3, 4, 5)), np.zeros(3), r"and 3 labels are given"),
        (np.zeros((3, 3, 4, 5)), np.zeros(3), r"3 images are given, expected a multiple of the batch size, 2"),
        (np.zeros((0, 3, 4, 5)), np.zeros(0), r"0 images are given"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(data: np.ndarray, labels: np.ndarray, message: str) -> None:
    layer, _ = running()
    with pytest.raises(NetError, match=rf"^layer 'l' \(MemoryData\): .*{message}"):
        layer.set_arrays(data, labels)


@pytest.mark.parametrize("missing", ["batch_size", "channels", "height", "width"])
def test_every_field_is_needed(missing: str) -> None:
    fields = " ".join(f"{name}: 2" for name in ("batch_size", "channels", "height", "width") if name != missing)
    with pytest.raises(NetError, match=rf"memory_data_param\.{missing} is 0, expected 1 or more"):
        set_up(memory_data(fields), [], 2)


def test_two_tops_are_needed() -> None:
    with pytest.raises(NetError, match=r"takes exactly 2 top blob\(s\), got 1"):
        set_up(memory_data(), [], 1)


def test_arrays_are_not_transformed_which_is_told(caplog: pytest.LogCaptureFixture) -> None:
    layer, top = running("transform_param { scale: 2 }")
    data, labels = arrays(2)
    with caplog.at_level(logging.WARNING):
        layer.set_arrays(data, labels)
    assert "transform_param has no effect on arrays" in caplog.text
    layer.run_forward([], top)
    np.testing.assert_array_equal(top[0].data, data)


def datums(count: int, height: int = 4) -> list[caffe_pb2.Datum]:
    return [datum_of(image(height, 5, seed=index).transpose(2, 0, 1), index) for index in range(count)]


def test_datums_are_transformed(caplog: pytest.LogCaptureFixture) -> None:
    layer, top = running("transform_param { scale: 0.5 mean_value: 3 }")
    layer.add_datums(datums(4))
    assert not caplog.records
    for first in (0, 2):
        layer.run_forward([], top)
        expected = [(image(4, 5, seed=first + offset).transpose(2, 0, 1) - np.float32(3)) / 2 for offset in range(2)]
        np.testing.assert_array_equal(top[0].data, expected)
        assert top[1].data.ravel().tolist() == [first, first + 1]


def test_datums_must_be_read_to_their_end_before_others_come() -> None:
    layer, top = running()
    layer.add_datums(datums(4))
    layer.run_forward([], top)
    for change in (lambda: layer.add_datums(datums(2)), lambda: layer.set_batch_size(4)):
        with pytest.raises(NetError, match="datums that were added are not all read yet"):
            change()
    layer.run_forward([], top)
    layer.add_datums(datums(2))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (datums(3), "3 images are given, expected a multiple"),
        ([], "0 images are given"),
        (datums(2, height=6), r"datum 0 becomes 3 x 6 x 5 .*, but the batch is of images that are 3 x 4 x 5"),
    ],
)
def test_datums_that_do_not_fit_are_refused(given: list[caffe_pb2.Datum], message: str) -> None:
    layer, _ = running()
    with pytest.raises(NetError, match=rf"^layer 'l' \(MemoryData\): .*{message}"):
        layer.add_datums(given)


def test_the_batch_size_can_be_changed() -> None:
    layer, top = running()
    layer.set_batch_size(3)
    data, labels = arrays(6)
    layer.set_arrays(data, labels)
    for first in (0, 3):
        layer.run_forward([], top)
        np.testing.assert_array_equal(top[0].data, data[first : first + 3])
    with pytest.raises(NetError, match="the batch size is 0"):
        layer.set_batch_size(0)


def test_a_steady_state_allocates_nothing() -> None:
    layer = memory_data("batch_size: 100 channels: 3 height: 20 width: 20")
    setup = layer.setup

    def setup_with_arrays(bottom: list[Blob], top: list[Blob]) -> None:
        setup(bottom, top)
        layer.set_arrays(np.ones((200, 3, 20, 20), np.float32), np.ones(200, np.float32))

    layer.setup = setup_with_arrays  # type: ignore[assignment,method-assign]
    assert_nothing_is_allocated(layer, [], 2)
