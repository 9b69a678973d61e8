import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos.errors import NetError
from tests.engine.support import (
    assert_nothing_is_allocated,
    assert_untouched,
    blob_of,
    layer_of,
    native_net,
    random_blob,
    run,
    set_up,
    untouched,
)

GAUSSIAN = 'weight_filler { type: "gaussian" } bias_filler { type: "gaussian" }'


def text(options: str = "") -> str:
    return f'type: "Embed" embed_param {{ num_output: 3 input_dim: 5 {GAUSSIAN} {options} }}'


@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 1, 2), ()])
def test_each_index_gives_its_row_of_weights_and_the_bias(shape: tuple[int, ...]) -> None:
    indices = np.random.default_rng(1).integers(0, 5, shape)
    layer = layer_of(text())
    (top,) = run(layer, [blob_of(indices)])
    weights, bias = (blob.data for blob in layer.params)
    assert weights.shape == (5, 3)
    assert top.shape == (*shape, 3)
    for place in np.ndindex(*shape):
        np.testing.assert_allclose(top.data[place], weights[indices[place]] + bias, rtol=1e-6)


def test_without_bias_term_there_is_no_bias() -> None:
    layer = layer_of(text("bias_term: false"))
    (top,) = run(layer, [blob_of([4, 0])])
    assert len(layer.params) == 1
    np.testing.assert_array_equal(top.data, layer.params[0].data[[4, 0]])


@given(st.lists(st.integers(0, 4), max_size=12))
@settings(max_examples=25, deadline=None)
def test_gradients_of_an_index_that_comes_again_add_up(indices: list[int]) -> None:
    bottom = blob_of(np.array(indices))
    layer = layer_of(text())
    top = run(layer, [bottom])
    for blob in layer.params:
        blob.diff.fill(1)
    top[0].diff[...] = random_blob(len(indices), 3, seed=5).data
    layer.run_backward(top, [False], [bottom])
    expected = np.ones((5, 3))
    for index, row in zip(indices, top[0].diff, strict=True):
        expected[index] += row
    np.testing.assert_allclose(layer.params[0].diff, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.params[1].diff, 1 + top[0].diff.sum(axis=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", ["", "bias_term: false"])
@pytest.mark.parametrize("indices", [[0, 4, 2], [[1, 1], [1, 3]]])
def test_the_gradient_is_right(options: str, indices: list[object]) -> None:
    assert GradientChecker().check(layer_of(text(options)), [blob_of(indices)], [Blob()], check_bottom=[])


def test_params_that_do_not_learn_get_no_gradient() -> None:
    bottom = blob_of([0, 1])
    layer = layer_of(text())
    top = run(layer, [bottom])
    top[0].diff.fill(1)
    for learning in ([True, False], [False, True]):
        layer.param_propagate_down = learning
        for blob in layer.params:
            untouched(blob)
        layer.run_backward(top, [False], [bottom])
        assert_untouched(layer.params[learning.index(False)])
        assert (layer.params[learning.index(True)].diff != 17).any()


def test_the_bottom_has_no_gradient() -> None:
    bottom = blob_of([0, 1])
    layer = layer_of(text())
    top = run(layer, [bottom])
    untouched(bottom)
    layer.run_backward(top, [False], [bottom])
    assert_untouched(bottom)
    with pytest.raises(NetError, match="indices cannot have a gradient"):
        layer.run_backward(top, [True], [bottom])


def test_force_backward_leaves_the_indices_out() -> None:
    net = native_net(
        'force_backward: true layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 } } } '
        f'layer {{ name: "l" bottom: "x" top: "y" {text()} }}'
    )
    with net:
        net.forward()
        net.blobs["y"].diff.fill(1)
        net.backward()
        assert net.layer("l").params[0].diff.tolist() == [[2, 2, 2], *[[0, 0, 0]] * 4]


def test_an_empty_batch_leaves_the_gradients_as_they_are() -> None:
    bottom = random_blob(0, 2)
    layer = layer_of(text())
    top = run(layer, [bottom])
    layer.run_backward(top, [False], [bottom])
    assert top[0].shape == (0, 2, 3)
    assert not any(blob.diff.any() for blob in layer.params)


def test_a_steady_state_allocates_nothing() -> None:
    layer = layer_of('type: "Embed" embed_param { num_output: 500 input_dim: 50 }')
    assert_nothing_is_allocated(layer, [blob_of(np.arange(512) % 30)], propagate_down=[False])


@pytest.mark.parametrize("index", [5, -1])
def test_an_index_out_of_range_is_refused(index: int) -> None:
    with pytest.raises(NetError, match=rf"index {index} is out of range: there are 5 rows of weights \(input_dim\)"):
        run(layer_of(text()), [blob_of([0, index])])


@pytest.mark.parametrize(
    ("param", "message"), [("input_dim: 5", "num_output is 0"), ("num_output: 3", "input_dim is 0")]
)
def test_sizes_of_zero_are_refused(param: str, message: str) -> None:
    with pytest.raises(NetError, match=message):
        set_up(layer_of(f'type: "Embed" embed_param {{ {param} }}'), [blob_of([0])])


def test_params_of_the_definition_must_fit() -> None:
    layer = layer_of(text("bias_term: false") + " blobs { shape { dim: 1 dim: 2 } data: 3 data: 4 }")
    with pytest.raises(NetError, match=r"shapes \[\(1, 2\)\], expected \[\(5, 3\)\]"):
        set_up(layer, [blob_of([0])])
