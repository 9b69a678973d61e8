import logging
from pathlib import Path

import numpy as np
import pytest

from farlayer.engine.net import Net
from farlayer.engine.prototxt import parse
from farlayer.engine.stored_layer import StoredLayer
from farlayer.engine.weights import copy_weights, load_weights, save_weights
from farlayer.engine.weights_binary import read_layers, serialized
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import SnapshotError
from tests.engine.support import native_net

TEXT = """
name: "n"
layer { name: "data" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y"
        inner_product_param { num_output: 4 weight_filler { type: "gaussian" } } }
layer { name: "a" type: "TanH" bottom: "y" top: "a" }
layer { name: "b" type: "TanH" bottom: "y" top: "b" }
"""


def net(seed: int = 1, text: str = TEXT) -> Net:
    return native_net(text, seed=seed)


def message_of(source: Net, *, with_diff: bool = False) -> caffe_pb2.NetParameter:
    return caffe_pb2.NetParameter.FromString(b"".join(serialized(source, with_diff=with_diff)))


@pytest.mark.parametrize("hdf5", [False, True])
def test_saved_weights_come_back_whatever_the_file_is_called(tmp_path: Path, hdf5: bool) -> None:
    source, target = net(1), net(2)
    save_weights(source, tmp_path / "w", hdf5=hdf5)
    load_weights(target, tmp_path / "w")
    for mine, theirs in zip(target.learnable_params, source.learnable_params, strict=True):
        np.testing.assert_array_equal(mine.data, theirs.data)


def test_a_file_holds_the_definition_with_its_splits(tmp_path: Path) -> None:
    save_weights(net(), tmp_path / "w.caffemodel")
    stored = caffe_pb2.NetParameter.FromString((tmp_path / "w.caffemodel").read_bytes())
    assert stored.name == "n"
    assert [layer.name for layer in stored.layer] == ["data", "ip", "y_ip_0_split", "a", "b"]
    assert [len(layer.blobs) for layer in stored.layer] == [0, 2, 0, 0, 0]


def test_diffs_are_saved_where_asked_for(tmp_path: Path) -> None:
    source = net()
    source.learnable_params[1].diff.fill(5)
    assert not message_of(source).layer[1].blobs[1].diff
    assert list(message_of(source, with_diff=True).layer[1].blobs[1].diff) == [5] * 4


def test_diffs_in_a_file_come_back(tmp_path: Path) -> None:
    source, target = net(1), net(2)
    source.learnable_params[1].diff.fill(5)
    save_weights(source, tmp_path / "w", with_diff=True)
    load_weights(target, tmp_path / "w")
    assert (target.learnable_params[1].diff == 5).all()


def weights(text: str) -> list[StoredLayer]:
    return read_layers(memoryview(parse(text, caffe_pb2.NetParameter()).SerializeToString()))


WEIGHTS = "shape { dim: 4 dim: 3 } " + "data: 1 " * 12
BIAS = "shape { dim: 4 } " + "data: 2 " * 4
BLOBS = f"blobs {{ {WEIGHTS} }} blobs {{ {BIAS} }}"
LEGACY_BLOBS = BLOBS.replace("shape { dim: 4 dim: 3 }", "num: 1 channels: 1 height: 4 width: 3").replace(
    "shape { dim: 4 }", "num: 1 channels: 1 height: 1 width: 4"
)


def test_layers_that_the_net_does_not_have_are_ignored_with_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    target = net()
    with caplog.at_level(logging.INFO):
        copy_weights(target, weights(f'layer {{ name: "other" {BLOBS} }} layer {{ name: "ip" {BLOBS} }}'), "w")
    assert "ignoring layer 'other' of w" in caplog.text
    assert (target.learnable_params[0].data == 1).all()
    assert (target.learnable_params[1].data == 2).all()


def test_a_file_that_fits_no_layer_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    copy_weights(net(), weights(f'layer {{ name: "other" {BLOBS} }}'), "w")
    assert "nothing was loaded" in caplog.text


@pytest.mark.parametrize(
    "layers",
    [
        f'layers {{ name: "ip" type: INNER_PRODUCT {BLOBS} }}',
        f'layers {{ layer {{ name: "ip" type: "innerproduct" {BLOBS} }} }}',
        f'layers {{ name: "ip" {LEGACY_BLOBS} }}',
    ],
)
def test_files_of_the_older_formats_are_read(layers: str) -> None:
    target = net()
    copy_weights(target, weights(layers), "w")
    assert (target.learnable_params[0].data == 1).all()


def test_another_shape_is_refused_with_layer_shapes_and_remedy() -> None:
    stored = weights(f'layer {{ name: "ip" {BLOBS.replace("dim: 4 dim: 3", "dim: 3 dim: 4")} }}')
    with pytest.raises(SnapshotError) as caught:
        copy_weights(net(), stored, "w.caffemodel")
    assert "param 0 of layer 'ip' has shape (4, 3), but in w.caffemodel it has shape (3, 4)" in caught.value.message
    assert caught.value.layer == "ip"
    assert "rename the layer" in caught.value.remedy


def test_another_number_of_params_is_refused() -> None:
    with pytest.raises(SnapshotError, match=r"layer 'ip' has 2 params .* but w has 1 for it"):
        copy_weights(net(), weights('layer { name: "ip" blobs { shape { dim: 4 dim: 3 } } }'), "w")


def test_missing_values_are_refused_with_the_layer() -> None:
    with pytest.raises(SnapshotError, match=r"param 0 of layer 'ip' in w: .*holds 11 values of data, expected 12"):
        copy_weights(net(), weights(f'layer {{ name: "ip" {BLOBS.replace("data: 1 ", "", 1)} }}'), "w")


def test_every_truncation_of_a_file_is_refused_or_fits_no_net(tmp_path: Path) -> None:
    save_weights(net(), tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    target = net()
    loaded = 0
    for size in range(len(content)):
        (tmp_path / "part").write_bytes(content[:size])
        try:
            load_weights(target, tmp_path / "part")
            loaded += 1  # cut between two layers: a smaller, whole message
        except SnapshotError:
            pass
    assert loaded <= len(target.layers)


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"\x00" * 100])
def test_what_is_no_caffemodel_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(SnapshotError, match="bytes") as caught:
        load_weights(net(), tmp_path / "w")
    assert caught.value.remedy


SHARED = """
layer { name: "data" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "one" type: "InnerProduct" bottom: "x" top: "y" param { name: "w" } param { name: "b" }
        inner_product_param { num_output: 4 weight_filler { type: "gaussian" } } }
layer { name: "two" type: "InnerProduct" bottom: "x" top: "z" param { name: "w" } param { }
        inner_product_param { num_output: 4 bias_filler { type: "gaussian" } } }
"""


@pytest.mark.parametrize("hdf5", [False, True])
def test_shared_params_come_back(tmp_path: Path, hdf5: bool) -> None:
    source, target = net(1, SHARED), net(2, SHARED)
    save_weights(source, tmp_path / "w", hdf5=hdf5)
    load_weights(target, tmp_path / "w")
    assert len(target.learnable_params) == 3
    for mine, theirs in zip(target.learnable_params, source.learnable_params, strict=True):
        np.testing.assert_array_equal(mine.data, theirs.data)


def test_a_param_that_the_file_lacks_is_refused_unless_it_is_shared() -> None:
    (stored,) = weights(f'layer {{ name: "l" {BLOBS} }}')
    first, second = stored.blobs.values()
    target = net(1, SHARED)
    copy_weights(target, [StoredLayer("one", {0: first, 1: second}), StoredLayer("two", {1: second})], "w")
    with pytest.raises(SnapshotError, match=r"layer 'two' has 2 params .* but w has 1 for it"):
        copy_weights(target, [StoredLayer("two", {0: first})], "w")
    with pytest.raises(SnapshotError, match=r"layer 'two' has 2 params .* but w has 3 for it"):
        copy_weights(target, [StoredLayer("two", {0: first, 1: second, 2: second})], "w")


@pytest.mark.parametrize("extra", ["", "layer { name: 'none' }"])
def test_the_rest_of_a_file_must_make_sense_too(tmp_path: Path, extra: str) -> None:
    content = parse(f"name: 'n' {extra}", caffe_pb2.NetParameter()).SerializeToString()
    (tmp_path / "w").write_bytes(content + b"\x32\x01\xff")  # a state that is none
    with pytest.raises(SnapshotError, match=r"truncated or no \.caffemodel"):
        load_weights(net(), tmp_path / "w")
