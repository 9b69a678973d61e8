import numpy as np
import pytest

from farlayer.protos.errors import NetError
from tests.engine.support import blob_of, layer_of, native_net, random_blob, run


@pytest.mark.parametrize(("fields", "expected"), [("", [0, 0, 1, 1]), ("threshold: 0.5", [0, 0, 0, 1])])
def test_values_above_the_bound_become_one_and_others_zero(fields: str, expected: list[int]) -> None:
    (top,) = run(layer_of(f'type: "Threshold" threshold_param {{ {fields} }}'), [blob_of([-1, 0, 0.5, 2])])
    np.testing.assert_array_equal(top.data, expected)


def test_a_gradient_is_refused() -> None:
    layer, bottom = layer_of('type: "Threshold"'), random_blob(2)
    top = run(layer, [bottom])
    layer.run_backward(top, [False], [bottom])
    with pytest.raises(NetError, match=r"layer 'l' \(Threshold\): it has no gradient"):
        layer.run_backward(top, [True], [bottom])


def test_force_backward_leaves_it_out() -> None:
    text = """
        force_backward: true
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 } } }
        layer { name: "l" type: "Threshold" bottom: "x" top: "y" }
    """
    with native_net(text) as net:
        net.forward()
        net.backward()
