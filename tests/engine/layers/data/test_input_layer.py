import pytest

from farlayer.protos.errors import NetError
from tests.engine.support import layer_of, run, set_up


def test_tops_get_the_shapes_of_the_definition() -> None:
    layer = layer_of('type: "Input" input_param { shape { dim: 2 dim: 3 } shape { dim: 4 } }')
    assert [top.shape for top in run(layer, [], num_top=2)] == [(2, 3), (4,)]


def test_one_shape_holds_for_all_tops() -> None:
    layer = layer_of('type: "Input" input_param { shape { dim: 2 } }')
    assert [top.shape for top in run(layer, [], num_top=3)] == [(2,)] * 3


def test_what_the_caller_wrote_and_reshaped_stays() -> None:
    layer = layer_of('type: "Input" input_param { shape { dim: 2 } }')
    top = set_up(layer, [])
    top[0].reshape(5)
    top[0].data.fill(3)
    layer.run_forward([], top)
    assert top[0].shape == (5,)
    assert (top[0].data == 3).all()


def test_a_wrong_number_of_shapes_is_refused() -> None:
    layer = layer_of('type: "Input" input_param { shape { dim: 2 } shape { dim: 2 } }')
    with pytest.raises(NetError, match="shape is given 2 times for 3 tops"):
        set_up(layer, [], num_top=3)
