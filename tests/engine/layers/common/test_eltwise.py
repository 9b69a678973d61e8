import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.engine.layers import parts
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

SHAPES = [(2, 3, 4), (5,), (), (2, 1, 1, 3, 2)]


def text(operation: str, options: str = "") -> str:
    return f'type: "Eltwise" eltwise_param {{ operation: {operation} {options} }}'


def some(count: int, *shape: int) -> list[Blob]:
    return [random_blob(*shape, seed=seed) for seed in range(count)]


def apart(count: int, *shape: int) -> list[Blob]:
    """Bottoms whose values differ from each other by more than any step of a gradient check."""
    size = math.prod(shape)
    order = np.random.default_rng(5).permutation(count * size).reshape(count, *shape)
    return [blob_of((part - count * size / 2 + 0.3) * 0.1) for part in order]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("bound", [3, 1 << 18])
def test_the_values_are_those_of_numpy(
    shape: tuple[int, ...], count: int, bound: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_VALUES", bound)
    bottom = some(count, *shape)
    stack = np.stack([blob.data for blob in bottom]).astype(np.float64)
    for operation, expected in (("PROD", stack.prod(axis=0)), ("SUM", stack.sum(axis=0)), ("MAX", stack.max(axis=0))):
        (top,) = run(layer_of(text(operation)), bottom)
        np.testing.assert_allclose(top.data, expected, rtol=1e-5, atol=1e-6, err_msg=operation)


@given(coeffs=st.lists(st.sampled_from([1, -1, 0, 0.5, -2.5]), min_size=2, max_size=5))
@settings(max_examples=25, deadline=None)
def test_a_sum_may_have_any_coefficients(coeffs: list[float]) -> None:
    bottom = some(len(coeffs), 2, 3)
    options = " ".join(f"coeff: {coeff}" for coeff in coeffs)
    layer = layer_of(text("SUM", options))
    (top,) = run(layer, bottom)
    expected = sum(coeff * blob.data.astype(np.float64) for coeff, blob in zip(coeffs, bottom, strict=True))
    np.testing.assert_allclose(top.data, expected, rtol=1e-5, atol=1e-6)
    top.diff[...] = random_blob(2, 3, seed=9).data
    layer.run_backward([top], [True] * len(coeffs), bottom)
    for coeff, blob in zip(coeffs, bottom, strict=True):
        np.testing.assert_allclose(blob.diff, coeff * top.diff, rtol=1e-6)


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize(
    ("operation", "options"), [("PROD", ""), ("PROD", "stable_prod_grad: false"), ("SUM", ""), ("MAX", "")]
)
def test_the_gradient_is_right(operation: str, options: str, count: int) -> None:
    bottom = apart(count, 2, 2) if operation == "MAX" else some(count, 2, 2)
    assert GradientChecker().check(layer_of(text(operation, options)), bottom, [Blob()])


@pytest.mark.parametrize("operation", ["PROD", "SUM", "MAX"])
def test_the_gradient_in_bands_is_that_of_the_whole(operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    diffs = []
    for bound in (1, 5, 1 << 18):
        monkeypatch.setattr(parts, "PART_VALUES", bound)
        bottom = some(3, 4, 3)
        layer = layer_of(text(operation))
        (top,) = run(layer, bottom)
        top.diff[...] = random_blob(4, 3, seed=9).data
        layer.run_backward([top], [True] * 3, bottom)
        diffs.append(np.stack([blob.diff for blob in bottom]))
    np.testing.assert_array_equal(diffs[0], diffs[2])
    np.testing.assert_array_equal(diffs[1], diffs[2])


def test_a_product_with_a_factor_0_has_a_gradient_unless_it_is_asked_to_divide() -> None:
    bottom = [blob_of([0, 2]), blob_of([3, 4])]
    diffs = []
    for options in ("", "stable_prod_grad: false"):
        layer = layer_of(text("PROD", options))
        (top,) = run(layer, bottom)
        top.diff.fill(1)
        layer.run_backward([top], [True, True], bottom)
        diffs.append(bottom[0].diff.copy())
    np.testing.assert_array_equal(diffs[0], [3, 4])
    np.testing.assert_array_equal(diffs[1], [np.nan, 4])


def test_of_equal_maxima_caffe_takes_the_second_bottom_before_the_first_and_both_before_the_third() -> None:
    bottom = [blob_of([1, 1, 0, 2]), blob_of([1, 0, 1, 0]), blob_of([1, 1, 1, 2])]
    layer = layer_of(text("MAX"))
    (top,) = run(layer, bottom)
    top.diff[...] = [5, 6, 7, 8]
    layer.run_backward([top], [True] * 3, bottom)
    np.testing.assert_array_equal(bottom[0].diff, [0, 6, 0, 8])
    np.testing.assert_array_equal(bottom[1].diff, [5, 0, 7, 0])
    np.testing.assert_array_equal(bottom[2].diff, [0, 0, 0, 0])


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_nan_is_a_maximum_whichever_bottom_it_is_in(place: int) -> None:
    bottom = some(3, 4)
    bottom[place].data[2] = np.nan
    (top,) = run(layer_of(text("MAX")), bottom)
    np.testing.assert_array_equal(np.isnan(top.data), [False, False, True, False])


@pytest.mark.parametrize("operation", ["PROD", "SUM", "MAX"])
def test_without_propagate_down_the_diff_stays(operation: str) -> None:
    bottom = some(3, 2, 3)
    layer = layer_of(text(operation))
    top = run(layer, bottom)
    for blob in bottom:
        untouched(blob)
    top[0].diff.fill(1)
    layer.run_backward(top, [True, False, True], bottom)
    assert_untouched(bottom[1])
    assert (bottom[0].diff != 17).all()
    assert (bottom[2].diff != 17).all()


@pytest.mark.parametrize("operation", ["PROD", "SUM", "MAX"])
def test_an_empty_batch_passes(operation: str) -> None:
    bottom = some(3, 0, 3)
    layer = layer_of(text(operation))
    top = run(layer, bottom)
    layer.run_backward(top, [True] * 3, bottom)
    assert top[0].shape == (0, 3)


@pytest.mark.parametrize("operation", ["PROD", "SUM", "MAX"])
def test_the_batch_may_change_between_calls(operation: str) -> None:
    bottom = some(3, 2, 3)
    layer = layer_of(text(operation))
    top = set_up(layer, bottom)
    for count in (5, 1):
        for blob in bottom:
            blob.reshape(count, 3)
            blob.data.fill(2)
        layer.run_forward(bottom, top)
        layer.run_backward(top, [True] * 3, bottom)
        assert top[0].shape == (count, 3)


@pytest.mark.parametrize("operation", ["PROD", "SUM", "MAX"])
@pytest.mark.parametrize("options", ["", "coeff: 2 coeff: -1 coeff: 1", "stable_prod_grad: false"])
def test_in_a_steady_state_nothing_is_allocated(operation: str, options: str) -> None:
    if operation == "PROD" and "coeff" in options:
        options = ""
    assert_nothing_is_allocated(layer_of(text(operation, options)), some(3, 40, 30, 30))


@pytest.mark.parametrize(
    ("shapes", "operation", "options", "message"),
    [
        ([(2, 3)], "SUM", "", "takes 2 to 65536 bottom"),
        ([(2, 3), (2, 4)], "SUM", "", r"bottom\[1\] has shape \(2, 4\), bottom\[0\] has \(2, 3\)"),
        ([(2, 3), (2, 3, 1)], "SUM", "", r"bottom\[1\] has shape \(2, 3, 1\)"),
        ([(2, 3), (2, 3)], "SUM", "coeff: 1", "1 coeff are given for 2 bottoms"),
        ([(2, 3), (2, 3)], "PROD", "coeff: 1 coeff: 2", "coeff is given, but operation is PROD"),
    ],
)
def test_what_does_not_fit_is_refused(
    shapes: list[tuple[int, ...]], operation: str, options: str, message: str
) -> None:
    with pytest.raises(NetError, match=message) as caught:
        run(layer_of(text(operation, options)), [random_blob(*shape) for shape in shapes])
    assert caught.value.layer == "l"


def test_working_in_place_is_refused() -> None:
    with pytest.raises(NetError, match="does not work in place"):
        native_net(
            'layer { name: "in" type: "Input" top: "a" top: "b" input_param { shape { dim: 2 } shape { dim: 2 } } }'
            'layer { name: "l" type: "Eltwise" bottom: "a" bottom: "b" top: "a" }'
        )
