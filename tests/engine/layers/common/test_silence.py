import numpy as np
import pytest

from farlayer.protos.errors import NetError
from tests.engine.support import assert_untouched, layer_of, native_net, random_blob, run, untouched


def test_the_gradients_are_zero_where_they_are_wanted() -> None:
    bottom = [random_blob(2, 3), random_blob(0, 1), random_blob(4)]
    layer = layer_of('type: "Silence"')
    run(layer, bottom, num_top=0)
    for blob in bottom:
        untouched(blob)
    layer.run_backward([], [True, True, False], bottom)
    assert not bottom[0].diff.any()
    assert_untouched(bottom[2])


def test_a_silenced_blob_is_no_output() -> None:
    text = 'layer { name: "in" type: "Input" top: "x" top: "y" input_param { shape { dim: 2 } } }'
    with native_net(text + 'layer { name: "l" type: "Silence" bottom: "x" }') as net:
        net.blobs["x"].data[...] = [1, 2]
        net.forward()
        assert net.outputs == ["y"]
        np.testing.assert_array_equal(net.blobs["x"].data, [1, 2])


@pytest.mark.parametrize(("num_bottom", "num_top", "message"), [(0, 0, "at least 1 bottom"), (1, 1, "exactly 0 top")])
def test_a_wrong_number_of_blobs_is_refused(num_bottom: int, num_top: int, message: str) -> None:
    with pytest.raises(NetError, match=message):
        run(layer_of('type: "Silence"'), [random_blob(2)] * num_bottom, num_top)
