import pytest

from farlayer.engine.layers.no_gradient import NoGradientLayer, refuse_gradient
from farlayer.engine.registry import known_types, layer_class
from farlayer.protos.errors import NetError
from tests.engine.support import layer_of, random_blob

TYPES = [name for name in known_types() if issubclass(layer_class(name), NoGradientLayer)]


def test_these_layers_have_no_gradient() -> None:
    assert TYPES == ["Accuracy", "ArgMax", "DetectionOutput", "Threshold"]


@pytest.mark.parametrize("type_name", TYPES)
def test_they_refuse_one_for_any_bottom_and_are_left_out_by_force_backward(type_name: str) -> None:
    layer = layer_of(f'type: "{type_name}"')
    bottom = [random_blob(2, 3), random_blob(2)]
    layer.backward([], [False, False], bottom)
    for wanted in ([True, False], [False, True]):
        with pytest.raises(NetError, match=rf"layer 'l' \({type_name}\): it has no gradient") as caught:
            layer.backward([], wanted, bottom)
        assert "let no loss depend on its tops" in caught.value.remedy
    assert not any(layer.allow_force_backward(index) for index in range(2))


def test_a_bottom_without_a_gradient_is_named() -> None:
    layer = layer_of('type: "Threshold"')
    refuse_gradient(layer, [True, False], 1, "the mask")
    with pytest.raises(NetError, match="the mask cannot have a gradient") as caught:
        refuse_gradient(layer, [False, True], 1, "the mask")
    assert "bottom[1]" in caught.value.remedy
