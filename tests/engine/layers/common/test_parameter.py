import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.blobs.segment import shared
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos.errors import BlobError, NetError
from tests.engine.support import layer_of, native_net, random_blob, run, set_up

TEXT = 'type: "Parameter" parameter_param { shape { dim: 2 dim: 3 } }'


def test_the_top_is_the_memory_of_the_param_data_and_diff() -> None:
    layer = layer_of(TEXT)
    (top,) = run(layer, [])
    (param,) = layer.params
    assert param.shape == top.shape == (2, 3)
    assert not top.data.any()
    param.data.fill(5)
    top.diff.fill(6)
    assert (top.data == 5).all()
    assert (param.diff == 6).all()


def test_the_gradient_is_right() -> None:
    layer = layer_of(TEXT)
    top = set_up(layer, [])
    layer.params[0].data[...] = random_blob(2, 3).data
    assert GradientChecker().check(layer, [], top)


def test_a_solver_step_sees_the_gradient_of_the_last_pass() -> None:
    net = native_net(
        f'layer {{ name: "p" top: "p" {TEXT} }} '
        'layer { name: "l" type: "Reduction" bottom: "p" top: "l" reduction_param { operation: SUMSQ } loss_weight: 1 }'
    )
    with net:
        (param,) = net.layer("p").params
        for value in (1, -2):
            net.clear_param_diffs()
            param.data.fill(value)
            net.forward()
            net.backward()
            assert (param.diff == 2 * value).all()


def test_as_a_loss_itself_it_adds_its_loss_weight() -> None:
    layer = layer_of(TEXT + " loss_weight: 0.5")
    top = set_up(layer, [])
    for _ in range(2):
        layer.run_forward([], top)
        layer.run_backward(top, [], [])
    assert (layer.params[0].diff == 1).all()
    layer.param_propagate_down = [False]
    layer.run_backward(top, [], [])
    assert (layer.params[0].diff == 1).all()


def test_params_of_one_name_are_one_memory() -> None:
    layers = (f'layer {{ name: "{name}" top: "{name}" param {{ name: "shared" }} {TEXT} }}' for name in "ab")
    with native_net("".join(layers)) as net:
        net.layer("a").params[0].data.fill(3)
        net.forward()
        assert (net.blobs["b"].data == 3).all()
        assert np.shares_memory(net.blobs["a"].data, net.blobs["b"].data)


def test_a_top_that_a_worker_reads_has_its_param_where_the_worker_sees_it() -> None:
    layer = layer_of(TEXT)
    top = [Blob(allocate=shared)]
    layer.run_setup([], top)
    layer.run_forward([], top)
    assert top[0].data_segment.shared
    assert top[0].data_segment is layer.params[0].data_segment


def test_values_of_the_definition_are_taken() -> None:
    (top,) = run(layer_of('type: "Parameter" parameter_param { shape { dim: 2 } } ' + BLOB), [])
    assert top.data.tolist() == [3, 4]


BLOB = "blobs { shape { dim: 2 } data: 3 data: 4 }"


def test_values_of_the_definition_must_fit() -> None:
    with pytest.raises(NetError, match=r"shapes \[\(2,\)\], expected \[\(2, 3\)\]"):
        run(layer_of(TEXT + BLOB), [])


@pytest.mark.parametrize(("text", "shape"), [('type: "Parameter"', ()), (TEXT.replace("3", "0"), (2, 0))])
def test_it_may_be_a_single_value_or_empty(text: str, shape: tuple[int, ...]) -> None:
    (top,) = run(layer_of(text), [])
    assert top.shape == shape


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(BlobError, match="negative axis") as caught:
        run(layer_of(TEXT.replace("3", "-3")), [])
    assert caught.value.layer == "l"


def test_bottoms_are_refused() -> None:
    with pytest.raises(NetError, match="exactly 0 bottom"):
        run(layer_of(TEXT), [random_blob(2, 3)])
