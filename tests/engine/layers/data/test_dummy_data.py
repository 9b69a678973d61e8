import numpy as np
import pytest

from farlayer.protos.errors import NetError
from tests.engine.support import layer_of, run, set_up


def dummy(fields: str) -> str:
    return f'type: "DummyData" dummy_data_param {{ {fields} }}'


def test_without_a_filler_tops_are_zero() -> None:
    (top,) = run(layer_of(dummy("shape { dim: 2 dim: 3 }")), [])
    assert top.shape == (2, 3)
    assert not top.data.any()


def test_a_constant_is_filled_once() -> None:
    layer = layer_of(dummy('shape { dim: 2 } data_filler { type: "constant" value: 3 }'))
    top = run(layer, [])
    assert (top[0].data == 3).all()
    top[0].data.fill(9)
    layer.run_forward([], top)
    assert (top[0].data == 9).all()


def test_random_tops_differ_from_forward_to_forward_and_agree_from_run_to_run() -> None:
    text = dummy('shape { dim: 100 } data_filler { type: "gaussian" }')
    first, second = layer_of(text), layer_of(text)
    tops = run(first, []), run(second, [])
    np.testing.assert_array_equal(tops[0][0].data, tops[1][0].data)
    before = tops[0][0].data.copy()
    first.run_forward([], tops[0])
    assert (before != tops[0][0].data).any()


def test_each_top_has_its_own_shape_and_filler() -> None:
    text = dummy(
        'shape { dim: 2 } shape { dim: 3 } data_filler { value: 1 } data_filler { type: "uniform" min: 5 max: 6 }'
    )
    tops = run(layer_of(text), [], num_top=2)
    assert (tops[0].data == 1).all()
    assert ((tops[1].data >= 5) & (tops[1].data <= 6)).all()


def test_the_older_four_fields_give_the_shape() -> None:
    (top,) = run(layer_of(dummy("num: 2 channels: 3 height: 4 width: 5")), [])
    assert top.shape == (2, 3, 4, 5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("shape { dim: 2 } shape { dim: 2 }", "shape is given 2 times for 3 tops"),
        ("", "shape is given 0 times for 3 tops"),
        ("shape { dim: 2 } data_filler { } data_filler { }", "data_filler is given 2 times for 3 tops"),
        ("num: 1 channels: 1 height: 1", "width is given 0 times for 3 tops"),
        ("shape { dim: 2 } num: 1", "both given"),
        ('shape { dim: 2 } data_filler { type: "typo" }', "unknown filler type 'typo'"),
    ],
)
def test_contradictions_are_refused(fields: str, message: str) -> None:
    layer = layer_of(dummy(fields))
    with pytest.raises(NetError, match=message):
        set_up(layer, [], num_top=3)


def test_checking_a_filler_at_setup_draws_no_numbers() -> None:
    layer = layer_of(dummy('shape { dim: 5 } data_filler { type: "gaussian" }'), seed=3)
    top = run(layer, [])
    np.testing.assert_array_equal(top[0].data, np.random.default_rng(3).standard_normal(5, np.float32))
