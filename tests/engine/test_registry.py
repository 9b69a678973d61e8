import pytest

from farlayer.engine.layer import Layer
from farlayer.engine.registry import known_types, layer_class, register
from farlayer.protos.errors import NetError


def test_the_layers_of_this_version_are_known() -> None:
    expected = "Accuracy Convolution DummyData EuclideanLoss InnerProduct Input Pooling Python ReLU Softmax"
    assert {*expected.split(), "SoftmaxWithLoss", "Split", "TanH"} <= set(known_types())


def test_every_class_knows_its_type() -> None:
    assert [layer_class(name).type_name for name in known_types()] == known_types()


def test_an_unknown_type_lists_the_known_ones_and_the_way_out() -> None:
    with pytest.raises(NetError) as caught:
        layer_class("Convolutio", layer="conv1")
    assert caught.value.layer == "conv1"
    assert "'conv1' has the unknown type 'Convolutio'" in caught.value.message
    assert ", ".join(known_types()) in caught.value.message
    assert "did you mean 'Convolution'?" in caught.value.remedy
    assert 'type: "Python"' in caught.value.remedy


def test_a_type_has_one_class() -> None:
    class OtherLayer(Layer):
        pass

    with pytest.raises(ValueError, match="layer type 'TanH' is TanHLayer already"):
        register("TanH")(OtherLayer)
    assert layer_class("TanH") is not OtherLayer
