"""Nets in older formats: inputs become an Input layer, layers of 2014 are refused with a remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format

from farlayer.engine.prototxt import require_current_format
from farlayer.engine.upgrade import upgrade_net_input, upgrade_snapshot_prefix
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError


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
    "text",
    [
        'input: "a"',
        'input: "a" input_dim: 1 input_dim: 2',
        'input: "a" input: "b" input_shape { dim: 1 }',
        "input_dim: 1 input_dim: 1 input_dim: 1 input_dim: 1",
        "input_shape { dim: 1 }",
    ],
)
def test_inputs_without_a_shape_each_are_refused(text: str) -> None:
    with pytest.raises(NetError) as caught:
        upgrade_net_input(net_of(f'name: "old" {text}'))
    assert "'old'" in caught.value.message
    assert "for each input" in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ('layers { name: "c" type: CONVOLUTION } layers { name: "r" }', "'c'"),
        ('layers { layer { name: "p" type: "pool" } }', "'p'"),
    ],
)
def test_layers_of_2014_and_2013_are_refused_with_a_remedy(text: str, first: str) -> None:
    with pytest.raises(NetError) as caught:
        require_current_format(net_of(text))
    assert first in caught.value.message
    assert "upgrade_net_proto_text" in caught.value.remedy
    assert caught.value.layer == first.strip("'")


def test_a_current_net_is_accepted() -> None:
    require_current_format(net_of('layer { name: "c" type: "Convolution" }'))


def test_inputs_of_a_net_of_2014_stay_until_its_layers_are_upgraded() -> None:
    net = net_of('input: "a" input_shape { dim: 1 } layers { name: "c" }')
    assert not upgrade_net_input(net)
    assert list(net.input) == ["a"]


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
