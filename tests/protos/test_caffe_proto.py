"""caffe.proto: every field is Caffe's, and files that the original wrote are read and written back unchanged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

from farlayer.protos import caffe_pb2

FACTS = (Path(__file__).parent / "caffe_facts.txt").read_text(encoding="utf-8").splitlines()
FIELD_FACTS = [line for line in FACTS if not line.startswith(("#", "enum "))]
ENUM_FACTS = [line for line in FACTS if line.startswith("enum ")]
GOLDEN_SOLVERS = sorted((Path(__file__).parents[1] / "golden" / "solvers").glob("*.npz"))
# Published definitions, beside the checkout where the project is developed; not part of it.
GOLDEN_NETS = sorted((Path(__file__).parents[3] / "shared" / "golden" / "nets").glob("*.npz"))


def our_schema() -> FileDescriptorProto:
    schema = FileDescriptorProto()
    caffe_pb2.DESCRIPTOR.CopyToProto(schema)
    return schema


OUR_FIELDS = {f"{message.name}.{field.name}": field for message in our_schema().message_type for field in message.field}
OUR_ENUMS = {f"{message.name}.{enum.name}": enum for message in our_schema().message_type for enum in message.enum_type}
OUR_ENUMS.update({enum.name: enum for enum in our_schema().enum_type})


def describe(name: str, field: FieldDescriptorProto) -> str:
    """A field as the table writes it: floats as they were written, strings in quotes."""
    label = FieldDescriptorProto.Label.Name(field.label).removeprefix("LABEL_").lower()
    plain_type = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    words = [f"{name} = {field.number} {label}", field.type_name.removeprefix(".farlayer.caffe.") or plain_type]
    if field.options.packed:
        words.append("packed")
    if field.HasField("default_value"):
        default = repr(field.default_value) if plain_type == "string" else field.default_value
        words.append(f"default {float(default):.6g}" if plain_type == "float" else f"default {default}")
    return " ".join(words)


@pytest.mark.parametrize("fact", FIELD_FACTS, ids=lambda fact: fact.partition(" = ")[0])
def test_each_field_has_caffes_number_label_type_and_default(fact: str) -> None:
    name = fact.partition(" = ")[0]
    assert describe(name, OUR_FIELDS[name]) == fact


@pytest.mark.parametrize("fact", ENUM_FACTS, ids=lambda fact: fact.split(": ")[0])
def test_each_enumeration_has_caffes_names_and_numbers(fact: str) -> None:
    name, _, values = fact.removeprefix("enum ").partition(": ")
    expected = {value.partition("=")[0]: int(value.partition("=")[2]) for value in values.split()}
    ours = {value.name: value.number for value in OUR_ENUMS[name].value}
    if name == "V1LayerParameter.LayerType":
        assert ours.pop("CROP") == 40  # of a fork that published many nets
    assert ours == expected


def test_the_table_of_facts_is_whole() -> None:
    assert len({fact.split(".")[0] for fact in FIELD_FACTS}) == 63
    assert len([fact for fact in FIELD_FACTS if fact.startswith("LayerParameter.")]) == 60
    assert len([fact for fact in FIELD_FACTS if fact.startswith("SolverParameter.")]) == 42
    assert len([fact for fact in FIELD_FACTS if fact.startswith("V1LayerParameter.")]) == 43
    assert len([fact for fact in FIELD_FACTS if fact.startswith("V0LayerParameter.")]) == 38


def test_a_schema_of_package_caffe_can_be_loaded_beside_ours() -> None:
    assert caffe_pb2.DESCRIPTOR.package == "farlayer.caffe"


@pytest.mark.skipif(not GOLDEN_NETS, reason="../shared/golden/nets is not here")
@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in GOLDEN_NETS])
def test_a_published_net_survives_text_and_binary(path: Path) -> None:
    with np.load(path) as golden:
        text, layer_count = str(golden["prototxt"]), len(golden["layer_names"])
    net = text_format.Parse(text, caffe_pb2.NetParameter())
    assert 0 < len(net.layer) <= layer_count  # the table counts the Split layers that a net inserts, too
    assert text_format.Parse(text_format.MessageToString(net), caffe_pb2.NetParameter()) == net
    assert caffe_pb2.NetParameter.FromString(net.SerializeToString()) == net


@pytest.mark.parametrize("path", GOLDEN_SOLVERS, ids=lambda path: path.stem)
def test_weights_that_caffe_wrote_are_read_and_written_back_byte_for_byte(path: Path) -> None:
    with np.load(path) as golden:
        content = golden["caffemodel_iter5"].tobytes()
        params = {key[len("after5:") :]: golden[key] for key in golden.files if key.startswith("after5:")}
    net = caffe_pb2.NetParameter.FromString(content)
    assert net.SerializeToString() == content
    stored = {f"{layer.name}:{index}": blob for layer in net.layer for index, blob in enumerate(layer.blobs)}
    assert stored.keys() == params.keys()
    for name, blob in stored.items():
        array = np.array(blob.data, np.float32).reshape(tuple(blob.shape.dim))
        np.testing.assert_array_equal(array, params[name])


@pytest.mark.parametrize("path", GOLDEN_SOLVERS, ids=lambda path: path.stem)
def test_solver_state_that_caffe_wrote_is_read_and_written_back_byte_for_byte(path: Path) -> None:
    with np.load(path) as golden:
        content = golden["solverstate_iter5"].tobytes()
        solver_text = str(golden["solver"])
    state = caffe_pb2.SolverState.FromString(content)
    assert state.SerializeToString() == content
    assert state.iter == 5
    assert len(state.history) >= 4
    solver = text_format.Parse(solver_text, caffe_pb2.SolverParameter())
    assert text_format.Parse(text_format.MessageToString(solver), caffe_pb2.SolverParameter()) == solver


# Layers of 2014, and the bytes that their numbers and types give: field 2 of the net; name 4, type 5, bottom 2, top 3,
# blobs_lr 7, convolution_param 10 (num_output 1, kernel_size 4), blobs 6 (num 1 ... width 4, data 5).
V1_TEXT = """
layers {
  name: "c" type: CONVOLUTION bottom: "b" top: "t" blobs_lr: 2
  convolution_param { num_output: 1 kernel_size: 3 }
  blobs { num: 1 channels: 1 height: 1 width: 2 data: 1 data: -2 }
}
"""
V1_LAYER_BYTES = (
    b"\x12\x01b" + b"\x1a\x01t" + b"\x22\x01c" + b"\x28\x04"
    + b"\x32\x12" + b"\x08\x01\x10\x01\x18\x01\x20\x02" + b"\x2a\x08\x00\x00\x80\x3f\x00\x00\x00\xc0"
    + b"\x3d\x00\x00\x00\x40" + b"\x52\x04\x08\x01\x20\x03"
)  # fmt: skip
V1_BYTES = b"\x12" + bytes([len(V1_LAYER_BYTES)]) + V1_LAYER_BYTES


def test_a_net_of_2014_is_the_same_in_text_and_in_the_bytes_of_its_time() -> None:
    net = text_format.Parse(V1_TEXT, caffe_pb2.NetParameter())
    assert net.SerializeToString() == V1_BYTES
    assert caffe_pb2.NetParameter.FromString(V1_BYTES) == net
    assert list(net.layers[0].blobs[0].data) == [1.0, -2.0]


def test_a_net_of_2013_parses() -> None:
    text = 'layers { layer { name: "p" type: "pool" pool: AVE kernelsize: 3 stride: 2 } bottom: "b" top: "t" }'
    layer = text_format.Parse(text, caffe_pb2.NetParameter()).layers[0]
    assert (layer.layer.type, layer.layer.pool, layer.bottom[0]) == ("pool", caffe_pb2.V0LayerParameter.AVE, "b")


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        # SSD
        ("prior_box_param { min_size: 30 aspect_ratio: 2 variance: 0.1 }", "prior_box_param.clip", False),
        ("multibox_loss_param { mining_type: MAX_NEGATIVE }", "multibox_loss_param.neg_overlap", 0.5),
        ("detection_output_param { nms_param { top_k: 400 } }", "detection_output_param.nms_param.top_k", 400),
        ("detection_output_param { code_type: CENTER_SIZE }", "detection_output_param.code_type", 2),
        ('norm_param { scale_filler { type: "constant" } }', "norm_param.channel_shared", True),
        ("permute_param { order: 0 order: 2 order: 3 order: 1 }", "permute_param.order", [0, 2, 3, 1]),
        ("annotated_data_param { batch_sampler { max_sample: 1 } }", "annotated_data_param.anno_type", 0),
        ("transform_param { resize_param { height: 300 } }", "transform_param.resize_param.prob", 1.0),
        # Faster R-CNN, PVANET, R-FCN
        ("roi_pooling_param { pooled_w: 6 pooled_h: 6 spatial_scale: 0.0625 }", "roi_pooling_param.pooled_h", 6),
        ("smooth_l1_loss_param { sigma: 3.0 }", "smooth_l1_loss_param.sigma", 3.0),
        ("proposal_param { ratio: 0.5 scale: 8 }", "proposal_param.post_nms_topn", 300),
        ("psroi_pooling_param { spatial_scale: 1 output_dim: 2 group_size: 7 }", "psroi_pooling_param.group_size", 7),
        # PSPNet, DeepLab, SegNet, ShuffleNet
        ("bn_param { slope_filler { value: 1 } momentum: 0.95 frozen: true }", "bn_param.engine", 0),
        ("interp_param { height: 33 width: 33 }", "interp_param.zoom_factor", 1),
        ("upsample_param { scale: 2 upsample_w: 60 }", "upsample_param.upsample_w", 60),
        ("shuffle_channel_param { group: 3 }", "shuffle_channel_param.group", 3),
    ],
)
def test_layers_of_widely_used_forks_parse(text: str, path: str, expected: object) -> None:
    value: object = text_format.Parse(f"layer {{ {text} }}", caffe_pb2.NetParameter()).layer[0]
    for name in path.split("."):
        value = getattr(value, name)
    assert value == expected
