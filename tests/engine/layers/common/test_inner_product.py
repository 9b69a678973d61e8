import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.engine.layers.common import products as module
from farlayer.protos.errors import NetError
from tests.engine.support import (
    assert_nothing_is_allocated,
    assert_untouched,
    layer_of,
    random_blob,
    run,
    set_up,
    untouched,
)

GAUSSIAN = 'weight_filler { type: "gaussian" } bias_filler { type: "gaussian" }'


def text(options: str = "") -> str:
    return f'type: "InnerProduct" inner_product_param {{ num_output: 4 {GAUSSIAN} {options} }}'


def test_forward_multiplies_and_adds() -> None:
    bottom = random_blob(3, 2, 5)
    layer = layer_of(text())
    (top,) = run(layer, [bottom])
    weights, bias = (blob.data for blob in layer.params)
    assert weights.shape == (4, 10)
    np.testing.assert_allclose(top.data, bottom.data.reshape(3, 10) @ weights.T + bias, rtol=1e-4, atol=1e-5)


def test_transposed_weights_compute_the_same() -> None:
    bottom = random_blob(3, 5)
    plain, transposed = layer_of(text()), layer_of(text("transpose: true"))
    tops = [set_up(layer, [bottom]) for layer in (plain, transposed)]
    assert transposed.params[0].shape == (5, 4)
    transposed.params[0].data[...] = plain.params[0].data.T
    transposed.params[1].data[...] = plain.params[1].data
    for layer, top in zip((plain, transposed), tops, strict=True):
        layer.run_forward([bottom], top)
    np.testing.assert_allclose(tops[0][0].data, tops[1][0].data, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", ["", "transpose: true", "bias_term: false", "axis: 2", "axis: -1"])
def test_the_gradient_is_right(options: str) -> None:
    assert GradientChecker().check(layer_of(text(options)), [random_blob(2, 3, 2)], [Blob()])


@pytest.mark.parametrize("part_values", [1, 11, 1 << 20])
@pytest.mark.parametrize("options", ["", "transpose: true"])
def test_gradients_of_params_add_up(options: str, part_values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PRODUCT_VALUES", part_values)
    bottom = random_blob(3, 5)
    layer = layer_of(text(options))
    top = run(layer, [bottom])
    top[0].diff[...] = random_blob(3, 4, seed=2).data
    layer.backward(top, [True], [bottom])
    once = [blob.diff.copy() for blob in layer.params]
    products = top[0].diff.T @ bottom.data
    np.testing.assert_allclose(once[0], products.T if options else products, rtol=1e-5, atol=1e-6)
    layer.backward(top, [True], [bottom])
    for blob, diff in zip(layer.params, once, strict=True):
        np.testing.assert_allclose(blob.diff, 2 * diff, rtol=1e-5)


def test_params_that_do_not_learn_get_no_gradient() -> None:
    bottom = random_blob(3, 5)
    layer = layer_of(text())
    top = run(layer, [bottom])
    top[0].diff.fill(1)
    layer.param_propagate_down = [False, True]
    for blob in layer.params:
        untouched(blob)
    layer.backward(top, [True], [bottom])
    assert_untouched(layer.params[0])
    assert (layer.params[1].diff == 17 + 3).all()


def test_without_propagate_down_the_diff_stays() -> None:
    bottom = random_blob(3, 5)
    layer = layer_of(text())
    top = run(layer, [bottom])
    untouched(bottom)
    layer.backward(top, [False], [bottom])
    assert_untouched(bottom)


@pytest.mark.parametrize("options", ["", "transpose: true"])
@pytest.mark.parametrize("shape", [(64, 500), (2000, 150)])
def test_in_a_steady_state_nothing_is_allocated(shape: tuple[int, ...], options: str) -> None:
    assert_nothing_is_allocated(layer_of(text(options)), [random_blob(*shape)])


def test_weights_need_no_second_array_of_their_size() -> None:
    bottom = random_blob(2, 3000)
    layer = layer_of('type: "InnerProduct" inner_product_param { num_output: 1000 }')
    top = run(layer, [bottom])
    layer.run_backward(top, [True], [bottom])
    held = layer.scratch.size_bytes + layer.workspace.size_bytes
    assert held < 5 << 20, f"{held} bytes are held beside {4 * layer.params[0].count} bytes of weights"


@pytest.mark.parametrize("axis", [2, -3])
def test_an_axis_that_is_not_there_is_refused(axis: int) -> None:
    with pytest.raises(NetError, match=rf"inner_product_param.axis is {axis}.*\(2, 3\)"):
        run(layer_of(text(f"axis: {axis}")), [random_blob(2, 3)])


def test_a_blob_without_values_to_multiply_gives_the_bias() -> None:
    bottom = random_blob(2, 0)
    layer = layer_of(text())
    (top,) = run(layer, [bottom])
    layer.run_backward([top], [True], [bottom])
    np.testing.assert_array_equal(top.data, np.tile(layer.params[1].data, (2, 1)))


def test_an_empty_batch_leaves_the_gradients_as_they_are() -> None:
    bottom = random_blob(0, 5)
    layer = layer_of(text())
    top = run(layer, [bottom])
    layer.backward(top, [True], [bottom])
    assert top[0].shape == (0, 4)
    assert not layer.params[0].diff.any()


def test_the_batch_may_change_but_not_the_inputs() -> None:
    bottom = random_blob(3, 5)
    layer = layer_of(text())
    top = run(layer, [bottom])
    bottom.reshape(7, 5)
    layer.run_forward([bottom], top)
    assert top[0].shape == (7, 4)
    bottom.reshape(7, 6)
    with pytest.raises(NetError, match=r"6 inputs.*expected 5"):
        layer.run_forward([bottom], top)


def test_no_outputs_are_refused() -> None:
    with pytest.raises(NetError, match="num_output is 0"):
        run(layer_of('type: "InnerProduct"'), [random_blob(2, 3)])


def test_params_of_the_definition_take_the_place_of_fillers() -> None:
    layer = layer_of(
        'type: "InnerProduct" inner_product_param { num_output: 1 bias_term: false } '
        "blobs { shape { dim: 1 dim: 2 } data: 3 data: 4 }"
    )
    bottom = random_blob(1, 2)
    (top,) = run(layer, [bottom])
    assert top.data.item() == pytest.approx(3 * bottom.data[0, 0] + 4 * bottom.data[0, 1])


def test_params_of_the_definition_must_fit() -> None:
    layer = layer_of(
        'type: "InnerProduct" inner_product_param { num_output: 1 } blobs { shape { dim: 1 dim: 2 } data: 3 data: 4 }'
    )
    with pytest.raises(NetError, match=r"shapes \[\(1, 2\)\], expected \[\(1, 2\), \(1,\)\]"):
        run(layer, [random_blob(1, 2)])
