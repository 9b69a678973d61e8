"""Nets and solvers as text: what is right is read, and what is wrong is said with line, column and remedy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from farlayer.engine.prototxt import parse, read_net, read_solver, to_text
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError, PrototxtError

NET = """
name: "tiny"  # a comment with a { in it
layer {
  name: "data" type: 'Input' top: "data"
  input_param { shape: { dim: 2 dim: 3 } }
}
layer {
  name: "py"
  type: "Python"
  bottom: "data"
  top: "out"
  python_param { module: "m" layer: "L" param_str: '{"a": 1}' }
}
"""


def error_of(text: str, message: caffe_pb2.NetParameter | caffe_pb2.SolverParameter | None = None) -> PrototxtError:
    with pytest.raises(PrototxtError) as caught:
        parse(text, message or caffe_pb2.NetParameter(), "net.prototxt")
    return caught.value


def test_a_net_is_read_and_written_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(NET, encoding="utf-8")
    net = read_net(path)
    assert [(layer.name, layer.type) for layer in net.layer] == [("data", "Input"), ("py", "Python")]
    assert net.layer[1].python_param.param_str == '{"a": 1}'
    assert parse(to_text(net), caffe_pb2.NetParameter()) == net


def test_a_solver_is_read_with_defaults_of_caffe(tmp_path: Path) -> None:
    path = tmp_path / "solver.prototxt"
    path.write_text(
        'net: "net.prototxt"\r\nbase_lr: 1e-2\r\nlr_policy: "step"\r\nsolver_mode: CPU\r\n', encoding="utf-8"
    )
    solver = read_solver(str(path))
    assert (solver.net, solver.lr_policy, solver.solver_mode) == ("net.prototxt", "step", caffe_pb2.SolverParameter.CPU)
    assert (solver.type, solver.average_loss, solver.test_initialization) == ("SGD", 1, True)


def test_parsing_replaces_what_the_message_held() -> None:
    net = caffe_pb2.NetParameter(name="old", layer=[caffe_pb2.LayerParameter(name="old")])
    assert parse('name: "new"', net) is net
    assert not net.layer


@pytest.mark.parametrize(
    ("text", "line", "column", "problem", "remedy"),
    [
        pytest.param(
            'layer {\n  name: "c"\n  convolution_param {\n    num_outputs: 3\n  }\n}',
            4,
            5,
            "ConvolutionParameter has no field num_outputs",
            "did you mean num_output?",
            id="unknown field",
        ),
        pytest.param(
            'layer {\n  name: "c"\n  kernel_size: 3\n}',
            3,
            3,
            "LayerParameter has no field kernel_size",
            "kernel_size is a field inside convolution_param or pooling_param: convolution_param { kernel_size: ... }",
            id="field of a message inside",
        ),
        pytest.param(
            'layer { name: "c"\n  frobnicate: 3 }',
            2,
            3,
            "LayerParameter has no field frobnicate",
            "fields of LayerParameter: blobs, bottom, exclude",
            id="no such field",
        ),
        pytest.param(
            'layer {\n  name: "a"\n\nlayer {\n  name: "b"\n}\n',
            4,
            1,
            "LayerParameter has no field layer",
            "is a } missing before it? The brace at line 1, column 7 is still open here",
            id="unclosed brace before a layer",
        ),
        pytest.param(
            'layer {\n  python_param {\n    module: "m"  # }\n    layer: "}"\n  }\n',
            5,
            3,
            'Expected "}"',
            "the brace at line 1, column 7 is never closed",
            id="unclosed brace at the end",
        ),
        pytest.param(
            'layer { name: "a" }\n}\n',
            2,
            1,
            "Expected identifier or number, got }",
            "this } closes nothing",
            id="brace too many",
        ),
        pytest.param(
            'layer {\n  type: "Python"\n  python_param module: "m"\n}',
            3,
            16,
            'Expected "{"',
            "python_param holds fields of its own: python_param { ... }",
            id="missing braces",
        ),
        pytest.param(
            'layer {\n  inner_product_param { num_output: "ten" }\n}',
            2,
            37,
            'Couldn\'t parse integer: "ten"',
            "write an integer",
            id="text for a number",
        ),
        pytest.param(
            "layer { loss_weight: high }", 1, 22, "Couldn't parse float: high", "write a number", id="word for a float"
        ),
        pytest.param(
            'force_backward: "yes"', 1, 17, 'Expected "true" or "false"', "write true or false", id="text for a bool"
        ),
        pytest.param(
            "layer {\n  name: conv1\n}",
            2,
            9,
            "Expected string but found: 'conv1'",
            'put it in quotes: "conv1"',
            id="no quotes",
        ),
        pytest.param(
            "layer { type: CONVOLUTION }",
            1,
            15,
            "Expected string but found: 'CONVOLUTION'",
            "format of 2014",
            id="type of 2014",
        ),
        pytest.param("layer { name: }", 1, 15, "Expected string but found: '}'", "a value is missing", id="no value"),
        pytest.param('name "n"', 1, 6, 'Expected ":"', "colon", id="no colon"),
        pytest.param('\nname: "n', 2, 7, "String missing ending quote", "close the quote", id="unclosed quote"),
        pytest.param(
            "layer {\n  pooling_param { pool: MAXIMUM }\n}",
            2,
            25,
            'Enum type "PoolingParameter.PoolMethod" has no value named MAXIMUM',
            "Values of PoolingParameter.PoolMethod: MAX, AVE, STOCHASTIC",
            id="bad enum",
        ),
        pytest.param(
            "layer { include { phase: train } }",
            1,
            26,
            'Enum type "Phase" has no value named train',
            "did you mean TRAIN?",
            id="enum in lower case",
        ),
        pytest.param(
            "layer { pooling_param { pool: 7 } }", 1, 31, "has no value with number 7", "MAX, AVE", id="bad enum number"
        ),
        pytest.param(
            "layer { inner_product_param { num_output: -1 } }",
            1,
            43,
            "Value out of range: -1",
            "no negative number",
            id="range",
        ),
        pytest.param(
            'layer {\n  name: "a"\n  name: "b"\n}',
            3,
            9,
            'should not have multiple "name" fields',
            "remove one",
            id="twice",
        ),
        pytest.param(
            'base_lr: 0.1\nnet: "n"',
            1,
            1,
            "NetParameter has no field base_lr",
            "is this the file of a solver?",
            id="a solver as a net",
        ),
        pytest.param("@", 1, 1, "Expected identifier or number, got @", "", id="garbage"),
    ],
)
def test_a_mistake_is_said_with_its_line_column_and_remedy(
    text: str, line: int, column: int, problem: str, remedy: str
) -> None:
    error = error_of(text)
    assert (error.path, error.line, error.column) == ("net.prototxt", line, column)
    assert error.message.startswith(f"net.prototxt:{line}:{column}: ")
    assert problem in error.message
    assert remedy in error.remedy
    assert "farlayer.caffe" not in str(error)


@pytest.mark.parametrize(
    "layer",
    [
        'layer { name: "l" type: "CenterLoss" bottom: "x" center_loss_param { num_output: 3 } }',
        "layer {\n param { name: 'a' } # type: \"ReLU\"\n type: 'CenterLoss'\n center_loss_param { num_output: 3 }\n}",
        'layer { center_loss_param { num_output: 3 } bottom: "}" type: "CenterLoss" }',
    ],
)
@pytest.mark.parametrize("before", ["", 'layer { type: "ReLU" }\n\n'])
def test_a_field_of_a_layer_that_only_another_caffe_has_is_told_from_a_mistake(before: str, layer: str) -> None:
    error = error_of(before + layer + ' layer { type: "TanH" }')
    assert "LayerParameter has no field center_loss_param" in error.message
    assert "type, 'CenterLoss', is unknown too" in error.remedy
    assert "Leave center_loss_param out and supply the layer as a Python layer" in error.remedy


@pytest.mark.parametrize("own", ['type: "Convolution"', "", 'param { name: "type" } type: "Bias"'])
def test_a_field_of_a_known_or_no_type_is_a_mistake(own: str) -> None:
    assert "did you mean convolution_param" in error_of(f"layer {{ {own} convolutional_param {{ }} }}").remedy


def test_a_net_given_as_a_solver_is_recognised() -> None:
    for text in (NET, "layer { }"):
        assert "is this the file of a net?" in error_of(text, caffe_pb2.SolverParameter()).remedy


def test_a_missing_required_field_is_named() -> None:
    error = error_of('layer { name: "c" clip_param { min: 1 } }')
    assert "layer[0].clip_param.max" in error.message


def test_a_missing_file_says_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PrototxtError, match=r"^nets/no\.prototxt: there is no such file") as caught:
        read_net("nets/no.prototxt")
    assert str(tmp_path) in caught.value.remedy
    assert caught.value.exit_code == 2


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PrototxtError, match="this is a folder"):
        read_net(tmp_path)


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing but a comment\n"])
def test_an_empty_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "empty.prototxt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PrototxtError, match="holds no field of a NetParameter"):
        read_net(path)
    with pytest.raises(PrototxtError, match="holds no field of a SolverParameter"):
        read_solver(path)


def test_a_binary_file_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    layer = caffe_pb2.LayerParameter(name="ip", blobs=[caffe_pb2.BlobProto(data=[0.0, 1.0])])
    path.write_bytes(caffe_pb2.NetParameter(name="n", layer=[layer]).SerializeToString())
    with pytest.raises(PrototxtError, match="this is a binary file") as caught:
        read_net(path)
    assert "--weights" in caught.value.remedy


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(NET, encoding="utf-8")
    path.chmod(0)
    with pytest.raises(PrototxtError, match="cannot be read: Permission denied"):
        read_net(path)


def test_a_name_longer_than_the_file_system_allows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PrototxtError, match="cannot be read"):
        read_net(tmp_path / ("n" * 300))


def test_bytes_that_are_not_utf_8_are_accepted_in_comments_only(tmp_path: Path) -> None:
    path = tmp_path / "latin.prototxt"
    path.write_bytes(b'# caf\xe9 "\nname: "a # b" # \xb5\n')
    assert read_net(path).name == "a # b"
    path.write_bytes(b'name: "a"\nlayer { name: "caf\xe9" }\n')
    with pytest.raises(PrototxtError, match="byte 0xe9 is not UTF-8") as caught:
        read_net(path)
    assert (caught.value.line, caught.value.column) == (2, 19)


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "windows.prototxt"
    path.write_bytes(b"\xef\xbb\xbf" + 'name: "grün"\r\n'.encode())
    assert read_net(path).name == "grün"


def test_the_file_of_an_error_is_named_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("solver.prototxt").write_text("base_lr: 0.1\nmax_itr: 100\n", encoding="utf-8")
    with pytest.raises(PrototxtError, match=r"^solver\.prototxt:2:1: SolverParameter has no field max_itr") as caught:
        read_solver("solver.prototxt")
    assert caught.value.remedy == "did you mean max_iter?"


def test_input_fields_of_a_net_and_of_nets_inside_a_solver_become_input_layers(tmp_path: Path) -> None:
    path = tmp_path / "old.prototxt"
    path.write_text('input: "data" input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4', encoding="utf-8")
    assert read_net(path).layer[0].type == "Input"
    nets = "net_param {N} train_net_param {N} test_net_param {N}".replace("N", ' input: "x" input_shape { dim: 5 } ')
    path.write_text(nets, encoding="utf-8")
    solver = read_solver(path)
    for net in (solver.net_param, solver.train_net_param, *solver.test_net_param):
        assert list(net.layer[0].input_param.shape[0].dim) == [5]


def test_input_fields_that_do_not_fit_are_an_error_of_the_net(tmp_path: Path) -> None:
    path = tmp_path / "old.prototxt"
    path.write_text('input: "data" input_dim: 1', encoding="utf-8")
    with pytest.raises(NetError, match="1 input and 1 input_dim"):
        read_net(path)
