import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos.errors import NetError
from tests.engine.support import blob_of, layer_of, native_net, random_blob, run

TEXT = 'type: "AbsVal"'


def test_forward_is_the_absolute_value() -> None:
    (top,) = run(layer_of(TEXT), [blob_of([-2, -0.5, 0, 3])])
    np.testing.assert_array_equal(top.data, [2, 0.5, 0, 3])


@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 3, 2)])
def test_the_gradient_is_right(shape: tuple[int, ...]) -> None:
    assert GradientChecker(kink_range=0.011).check(layer_of(TEXT), [random_blob(*shape)], [Blob()])


def test_the_gradient_at_zero_is_zero() -> None:
    bottom, layer = blob_of([0, 1]), layer_of(TEXT)
    top = run(layer, [bottom])
    top[0].diff.fill(5)
    layer.run_backward(top, [True], [bottom])
    np.testing.assert_array_equal(bottom.diff, [0, 5])


def test_in_place_is_refused() -> None:
    with pytest.raises(NetError, match=r"layer 'l' \(AbsVal\).*does not work in place"):
        native_net(
            'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 } } }'
            'layer { name: "l" type: "AbsVal" bottom: "x" top: "x" }'
        )
