import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlayer.engine.splits import insert_splits
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError
from tests.engine.support import net_param


def layers(param: caffe_pb2.NetParameter) -> list[tuple[str, list[str], list[str]]]:
    return [(layer.name, list(layer.bottom), list(layer.top)) for layer in insert_splits(param).layer]


def test_a_blob_with_one_reader_is_left_alone() -> None:
    param = net_param('layer { name: "d" top: "x" } layer { name: "a" bottom: "x" top: "a" }')
    assert insert_splits(param) == param


def test_a_blob_with_two_readers_is_split_as_caffe_names_it() -> None:
    param = net_param(
        'layer { name: "d" top: "y" top: "x" } layer { name: "a" bottom: "x" } layer { name: "b" bottom: "x" }'
    )
    assert layers(param) == [
        ("d", [], ["y", "x"]),
        ("x_d_1_split", ["x"], ["x_d_1_split_0", "x_d_1_split_1"]),
        ("a", ["x_d_1_split_0"], []),
        ("b", ["x_d_1_split_1"], []),
    ]


def test_an_input_of_the_net_is_split_before_all_layers() -> None:
    param = net_param('input: "x" layer { name: "a" bottom: "x" } layer { name: "b" bottom: "x" }')
    assert layers(param)[0] == ("x_input_0_split", ["x"], ["x_input_0_split_0", "x_input_0_split_1"])


def test_what_an_in_place_layer_made_is_another_blob() -> None:
    param = net_param(
        'layer { name: "d" top: "x" } layer { name: "r" bottom: "x" top: "x" } '
        'layer { name: "a" bottom: "x" } layer { name: "b" bottom: "x" }'
    )
    assert [name for name, _, _ in layers(param)] == ["d", "r", "x_r_0_split", "a", "b"]


def test_a_reader_that_takes_a_blob_twice_counts_twice() -> None:
    param = net_param('layer { name: "d" top: "x" } layer { name: "a" bottom: "x" bottom: "x" }')
    assert layers(param)[-1] == ("a", ["x_d_0_split_0", "x_d_0_split_1"], [])


def test_a_loss_that_is_read_too_hands_its_weight_to_the_split() -> None:
    param = net_param(
        'layer { name: "l" type: "SoftmaxWithLoss" top: "loss" top: "prob" loss_weight: 2 loss_weight: 3 } '
        'layer { name: "a" bottom: "loss" }'
    )
    loss, split, reader = insert_splits(param).layer
    assert list(loss.loss_weight) == [0, 3]
    assert list(split.loss_weight) == [2, 0]
    assert list(reader.bottom) == ["loss_l_0_split_1"]


def test_an_unknown_bottom_lists_what_there_is() -> None:
    param = net_param('layer { name: "d" top: "data" } layer { name: "a" type: "TanH" bottom: "date" }')
    with pytest.raises(NetError) as caught:
        insert_splits(param)
    assert "layer 'a' (TanH): unknown bottom blob 'date'; available at this point: data" in caught.value.message
    assert "did you mean 'data'?" in caught.value.remedy
    assert caught.value.layer == "a"


@st.composite
def definitions(draw: st.DrawFn) -> caffe_pb2.NetParameter:
    """Nets of layers that read any blobs made before, some in place, some with loss weights."""
    param = caffe_pb2.NetParameter(input=draw(st.lists(st.sampled_from(["i", "j"]), unique=True)))
    available = list(param.input)
    for index in range(draw(st.integers(1, 6))):
        layer = param.layer.add(name=f"l{index}", type="T")
        if available:
            layer.bottom.extend(draw(st.lists(st.sampled_from(available), max_size=3)))
        for top in range(draw(st.integers(0, 2))):
            in_place = top < len(layer.bottom) and draw(st.booleans())
            name = layer.bottom[top] if in_place else f"b{index}_{top}"
            if name not in layer.top:
                layer.top.append(name)
        if draw(st.booleans()):
            layer.loss_weight.extend(draw(st.sampled_from([0.0, 2.0])) for _ in layer.top)
        available = list(dict.fromkeys([*available, *layer.top]))
    return param


@given(definitions())
def test_splitting_twice_is_splitting_once(param: caffe_pb2.NetParameter) -> None:
    once = insert_splits(param)
    assert insert_splits(once) == once


@given(definitions())
def test_after_splitting_every_blob_is_read_at_most_once(param: caffe_pb2.NetParameter) -> None:
    unread: dict[str, bool] = dict.fromkeys(insert_splits(param).input, True)
    for layer in insert_splits(param).layer:
        for bottom in layer.bottom:
            assert unread[bottom], f"{bottom} is read twice"
            unread[bottom] = False
        unread.update(dict.fromkeys(layer.top, True))


@given(definitions())
def test_the_sum_of_the_loss_weights_stays(param: caffe_pb2.NetParameter) -> None:
    before = sum(sum(layer.loss_weight) for layer in param.layer)
    assert sum(sum(layer.loss_weight) for layer in insert_splits(param).layer) == before
