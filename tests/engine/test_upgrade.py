"""Nets in older formats become present ones: layers of 2013 and 2014, inputs, transformations, BatchNorm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

from farlayer.engine.upgrade import upgrade_net, upgrade_net_input, upgrade_snapshot_prefix
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError
from tests.engine.support import native_net


def net_of(text: str) -> caffe_pb2.NetParameter:
    return text_format.Parse(text, caffe_pb2.NetParameter())


def test_input_dims_become_one_input_layer_before_all_others() -> None:
    net = net_of("""
        input: "a" input: "b"
        input_dim: 1 input_dim: 3 input_dim: 5 input_dim: 7
        input_dim: 2 input_dim: 4 input_dim: 6 input_dim: 8
        layer { name: "first" } layer { name: "second" }
    """)
    assert upgrade_net_input(net)
    assert net == net_of("""
        layer {
          name: "input" type: "Input" top: "a" top: "b"
          input_param { shape { dim: 1 dim: 3 dim: 5 dim: 7 } shape { dim: 2 dim: 4 dim: 6 dim: 8 } }
        }
        layer { name: "first" } layer { name: "second" }
    """)


def test_input_shapes_of_any_axes_become_an_input_layer() -> None:
    net = net_of('input: "a" input_shape { dim: 3 } input: "scalar" input_shape { }')
    assert upgrade_net_input(net)
    assert [list(shape.dim) for shape in net.layer[0].input_param.shape] == [[3], []]


def test_upgrading_is_idempotent_and_leaves_current_nets_alone() -> None:
    net = net_of('input: "a" input_shape { dim: 3 } layer { name: "l" }')
    upgrade_net_input(net)
    once = caffe_pb2.NetParameter()
    once.CopyFrom(net)
    assert not upgrade_net_input(net)
    assert net == once


@pytest.mark.parametrize(
    "text", ['input: "a" input_dim: 1 input_dim: 2', 'input: "a" input: "b" input_shape { dim: 1 }']
)
def test_fewer_shapes_than_inputs_are_refused(text: str) -> None:
    with pytest.raises(NetError) as caught:
        upgrade_net_input(net_of(f'name: "old" {text}'))
    assert "'old'" in caught.value.message
    assert "for each input" in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4 input_dim: 5", [1, 2, 3, 4]),
        ("input_shape { dim: 1 } input_shape { dim: 2 }", [1]),
        ("input_shape { dim: 1 } input_dim: 2 input_dim: 3 input_dim: 4 input_dim: 5", [1]),
    ],
)
def test_shapes_beyond_the_inputs_have_no_effect(text: str, shape: list[int]) -> None:
    net = net_of(f'input: "a" {text}')
    assert upgrade_net_input(net)
    assert [list(each.dim) for each in net.layer[0].input_param.shape] == [shape]
    assert not net.input_shape
    assert not net.input_dim


def test_an_input_without_any_shape_is_dropped_as_old_weights_files_have_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    net = net_of('name: "old" input: "a" layers { name: "ip" type: INNER_PRODUCT blobs { } }')
    assert upgrade_net(net)
    assert net == net_of('name: "old" layer { name: "ip" type: "InnerProduct" blobs { } }')
    assert "no input_shape for its input a" in caplog.text


@pytest.mark.parametrize("text", ["input_dim: 1 input_dim: 1 input_dim: 1 input_dim: 1", "input_shape { dim: 1 }"])
def test_shapes_without_an_input_are_left_alone(text: str) -> None:
    net = net_of(text)
    assert not upgrade_net_input(net)
    assert net == net_of(text)


V0 = """
name: "old" input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8 force_backward: true
layers { layer { name: "images" type: "images" source: "list.txt" batchsize: 4 scale: 0.5 meanfile: "mean" cropsize: 5
         mirror: true rand_skip: 2 shuffle_images: true new_height: 6 new_width: 7 } top: "x" top: "label" }
layers { layer { name: "pad" type: "padding" pad: 2 } bottom: "data" top: "padded" }
layers { layer { name: "conv" type: "conv" num_output: 4 biasterm: false kernelsize: 3 stride: 2 group: 1
         weight_filler { type: "xavier" } bias_filler { value: 1 }
         blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0 } bottom: "padded" top: "conv" }
layers { layer { name: "relu" type: "relu" } bottom: "conv" top: "conv" }
layers { layer { name: "pool" type: "pool" pool: AVE kernelsize: 3 stride: 2 pad: 1 } bottom: "conv" top: "pool" }
layers { layer { name: "norm" type: "lrn" local_size: 3 alpha: 0.1 beta: 0.5 k: 2 } bottom: "pool" top: "norm" }
layers { layer { name: "drop" type: "dropout" dropout_ratio: 0.2 } bottom: "norm" top: "norm" }
layers { layer { name: "cat" type: "concat" concat_dim: 2 } bottom: "norm" bottom: "x" top: "cat" }
layers { layer { name: "ip" type: "innerproduct" num_output: 10 } bottom: "cat" top: "ip" }
layers { layer { name: "win" type: "window_data" source: "w" det_fg_threshold: 0.6 det_bg_threshold: 0.4
         det_fg_fraction: 0.3 det_context_pad: 16 det_crop_mode: "square" } top: "w" }
layers { layer { name: "out" type: "hdf5_output" hdf5_output_param { file_name: "o.h5" } } bottom: "ip" bottom: "w" }
"""
V0_NOW = """
name: "old" force_backward: true
layer { name: "input" type: "Input" top: "data"
        input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "images" type: "ImageData" top: "x" top: "label"
        transform_param { scale: 0.5 mean_file: "mean" crop_size: 5 mirror: true }
        image_data_param { source: "list.txt" batch_size: 4 rand_skip: 2 shuffle: true new_height: 6 new_width: 7 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
        convolution_param { num_output: 4 bias_term: false pad: 2 kernel_size: 3 stride: 2 group: 1
                            weight_filler { type: "xavier" } bias_filler { value: 1 } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
        pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "norm" type: "LRN" bottom: "pool" top: "norm" lrn_param { local_size: 3 alpha: 0.1 beta: 0.5 k: 2 } }
layer { name: "drop" type: "Dropout" bottom: "norm" top: "norm" dropout_param { dropout_ratio: 0.2 } }
layer { name: "cat" type: "Concat" bottom: "norm" bottom: "x" top: "cat" concat_param { concat_dim: 2 } }
layer { name: "ip" type: "InnerProduct" bottom: "cat" top: "ip" inner_product_param { num_output: 10 } }
layer { name: "win" type: "WindowData" top: "w" window_data_param { source: "w" fg_threshold: 0.6 bg_threshold: 0.4
        fg_fraction: 0.3 context_pad: 16 crop_mode: "square" } }
layer { name: "out" type: "HDF5Output" bottom: "ip" bottom: "w" hdf5_output_param { file_name: "o.h5" } }
"""
PADDED = 'input: "x" layers { layer { name: "p" type: "padding" pad: 1 }'
V1 = """
name: "old"
layers { name: "data" type: DATA top: "data" top: "label" include { phase: TRAIN }
         data_param { source: "db" batch_size: 4 scale: 0.5 mean_file: "mean" crop_size: 5 mirror: true } }
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv" param: "shared" blob_share_mode: PERMISSIVE
         blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0 convolution_param { num_output: 4 kernel_size: 3 }
         blobs { num: 1 channels: 1 height: 1 width: 2 data: 3 data: 4 } }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "conv" bottom: "label" top: "loss" loss_weight: 2
         exclude { stage: "deploy" } loss_param { ignore_label: 3 } softmax_param { axis: 1 } }
layers { name: "odd" bottom: "conv" }
"""
V1_NOW = """
name: "old"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
        transform_param { scale: 0.5 mean_file: "mean" crop_size: 5 mirror: true }
        data_param { source: "db" batch_size: 4 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        param { name: "shared" share_mode: PERMISSIVE lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
        convolution_param { num_output: 4 kernel_size: 3 }
        blobs { num: 1 channels: 1 height: 1 width: 2 data: 3 data: 4 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "conv" bottom: "label" top: "loss" loss_weight: 2
        exclude { stage: "deploy" } loss_param { ignore_label: 3 } softmax_param { axis: 1 } }
layer { name: "odd" bottom: "conv" }
"""


@pytest.mark.parametrize(("old", "now"), [(V0, V0_NOW), (V1, V1_NOW)], ids=["2013", "2014"])
def test_a_net_in_an_older_format_becomes_what_it_means_today(old: str, now: str) -> None:
    net = net_of(old)
    assert upgrade_net(net)
    assert net == net_of(now)
    assert not upgrade_net(net)
    assert net == net_of(now)


def test_binaries_are_upgraded_as_texts_are() -> None:
    net = caffe_pb2.NetParameter.FromString(net_of(V1).SerializeToString())
    upgrade_net(net)
    assert net == net_of(V1_NOW)


@pytest.mark.parametrize("number", caffe_pb2.V1LayerParameter.LayerType.values())
def test_every_type_of_2014_has_a_present_name(number: caffe_pb2.V1LayerParameter.LayerType.ValueType) -> None:
    net = caffe_pb2.NetParameter(layers=[caffe_pb2.V1LayerParameter(type=number)])
    upgrade_net(net)
    written = caffe_pb2.V1LayerParameter.LayerType.Name(number).replace("_", "").lower()
    expected = {"none": "", "softmaxloss": "softmaxwithloss"}.get(written, written)
    assert net.layer[0].type.lower() == expected


def test_a_field_that_its_type_never_had_is_dropped_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    net = net_of('layers { layer { name: "r" type: "relu" num_output: 3 } }')
    upgrade_net(net)
    assert net == net_of('layer { name: "r" type: "ReLU" }')
    assert "layer 'r': num_output has no meaning for the type 'relu'" in caplog.text


@pytest.mark.parametrize(
    ("text", "layer", "message"),
    [
        ('layers { layer { name: "l" type: "unknown" } }', "l", "unknown type 'unknown' .*known types: accuracy, "),
        (
            f'{PADDED} bottom: "x" top: "y" }} layers {{ layer {{ name: "l" type: "lrn" }} bottom: "y" }}',
            "l",
            "reads the padding layer 'p', which only a conv or pool layer",
        ),
        (
            f'{PADDED} bottom: "x" bottom: "x" top: "y" }} layers {{ layer {{ type: "conv" }} bottom: "y" }}',
            "p",
            "'p' has 2 bottoms and 1 tops, expected one of each",
        ),
        ('layers { name: "l" type: RELU } layer { name: "m" }', "l", "1 `layers { ... }` .* beside 1 `layer { ... }`"),
    ],
)
def test_what_has_no_present_form_is_refused(text: str, layer: str, message: str) -> None:
    with pytest.raises(NetError, match=message) as caught:
        upgrade_net(net_of(text))
    assert caught.value.layer == layer
    assert caught.value.remedy


def test_present_data_layers_keep_transformation_fields_which_have_no_effect() -> None:
    net = net_of('layer { name: "d" type: "Data" data_param { scale: 2 } }')
    assert not upgrade_net(net)
    assert net.layer[0].data_param.scale == 2
    assert not net.layer[0].HasField("transform_param")


def test_three_params_of_a_batch_norm_are_never_trained() -> None:
    net = net_of('layer { type: "BatchNorm" param { lr_mult: 1 name: "a" } param { } param { lr_mult: 0 } }')
    assert upgrade_net(net)
    spec = "lr_mult: 0 decay_mult: 0"
    assert net == net_of(
        f'layer {{ type: "BatchNorm" param {{ {spec} name: "a" }} param {{ {spec} }} param {{ {spec} }} }}'
    )
    assert not upgrade_net(net)


def test_a_net_of_2014_runs() -> None:
    text = """
        input: "x" input_dim: 2 input_dim: 3 input_dim: 1 input_dim: 1
        layers { name: "ip" type: INNER_PRODUCT bottom: "x" top: "y" blobs_lr: 1 blobs_lr: 2
                 inner_product_param { num_output: 4 weight_filler { type: "constant" value: 1 } } }
    """
    with native_net(text) as net:
        net.blobs["x"].data[...] = 1
        net.forward()
        np.testing.assert_array_equal(net.blobs["y"].data, np.full((2, 4), 3))
        assert [param.lr_mult for param in net.learnable] == [1, 2]


def test_a_solver_without_a_prefix_names_its_snapshots_after_its_file() -> None:
    solver = caffe_pb2.SolverParameter()
    upgrade_snapshot_prefix(solver, Path("models/lenet_solver.prototxt"))
    assert solver.snapshot_prefix == "models/lenet_solver"


def test_a_prefix_that_is_a_folder_gets_the_file_s_name(tmp_path: Path) -> None:
    solver = caffe_pb2.SolverParameter(snapshot_prefix=str(tmp_path))
    upgrade_snapshot_prefix(solver, Path("models/lenet_solver.prototxt"))
    assert solver.snapshot_prefix == str(tmp_path / "lenet_solver")


def test_a_prefix_that_is_given_stays() -> None:
    solver = caffe_pb2.SolverParameter(snapshot_prefix="out/mine")
    upgrade_snapshot_prefix(solver, Path("models/lenet_solver.prototxt"))
    assert solver.snapshot_prefix == "out/mine"
