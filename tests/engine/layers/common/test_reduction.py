import math

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
    random_blob,
    run,
    set_up,
    untouched,
)

OPERATIONS = ["SUM", "ASUM", "SUMSQ", "MEAN"]


def text(options: str = "") -> str:
    return f'type: "Reduction" reduction_param {{ {options} }}'


def reduce(values: list[float], operation: str) -> float:
    terms = {
        "SUM": values,
        "MEAN": values,
        "ASUM": [abs(value) for value in values],
        "SUMSQ": [value * value for value in values],
    }[operation]
    return math.fsum(terms) / (len(values) if operation == "MEAN" else 1)


@given(
    st.sampled_from(OPERATIONS),
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.integers(0, 3),
    st.sampled_from([None, 1.0, -0.5, 3.0]),
)
@settings(max_examples=40, deadline=None)
def test_the_axes_from_axis_on_are_reduced(operation: str, shape: list[int], axis: int, coeff: float | None) -> None:
    axis %= len(shape)
    bottom = random_blob(*shape)
    options = f"operation: {operation} axis: {axis - len(shape)} " + (f"coeff: {coeff}" if coeff is not None else "")
    (top,) = run(layer_of(text(options)), [bottom])
    assert top.shape == tuple(shape[:axis])
    for place in np.ndindex(*top.shape):
        expected = (1 if coeff is None else coeff) * reduce(bottom.data[place].ravel().tolist(), operation)
        assert top.data[place] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_by_default_everything_is_summed() -> None:
    (top,) = run(layer_of(text()), [blob_of([[1, 2], [3, 4]])])
    assert top.shape == ()
    assert top.data == 10


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("options", ["", "axis: 1", "axis: 2 coeff: -2.5", "coeff: 0"])
def test_the_gradient_is_right(operation: str, options: str) -> None:
    checker = GradientChecker(kink_range=0.011 if operation == "ASUM" else -1)
    bottom = random_blob(2, 3, 2)
    assert checker.check(layer_of(text(f"operation: {operation} {options}")), [bottom], [Blob()])


def test_as_a_loss_it_adds_to_the_loss_of_the_net() -> None:
    layer = layer_of(text("operation: SUMSQ") + " loss_weight: 0.5")
    bottom = blob_of([1, 2])
    top = set_up(layer, [bottom])
    assert layer.run_forward([bottom], top) == 2.5
    layer.run_backward(top, [True], [bottom])
    assert bottom.diff.tolist() == [1, 2]


def test_the_sign_of_zero_is_zero() -> None:
    bottom = blob_of([0, -3, 3])
    layer = layer_of(text("operation: ASUM"))
    top = run(layer, [bottom])
    top[0].diff.fill(2)
    layer.run_backward(top, [True], [bottom])
    assert bottom.diff.tolist() == [0, -2, 2]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(("shape", "top_shape"), [((0, 3), ()), ((0, 3), (0,)), ((2, 0), (2,))])
def test_what_is_empty_gives_zero(operation: str, shape: tuple[int, ...], top_shape: tuple[int, ...]) -> None:
    bottom = random_blob(*shape)
    layer = layer_of(text(f"operation: {operation} axis: {len(top_shape)}"))
    top = run(layer, [bottom])
    layer.run_backward(top, [True], [bottom])
    assert top[0].shape == top_shape
    assert not top[0].data.any()


def test_without_propagate_down_the_diff_stays() -> None:
    bottom = random_blob(2, 3)
    layer = layer_of(text())
    top = run(layer, [bottom])
    untouched(bottom)
    layer.run_backward(top, [False], [bottom])
    assert_untouched(bottom)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_steady_state_allocates_nothing(operation: str, axis: int) -> None:
    assert_nothing_is_allocated(layer_of(text(f"operation: {operation} axis: {axis}")), [random_blob(32, 200, 30)])


@pytest.mark.parametrize(
    ("axis", "shape", "message"),
    [(2, (2, 3), r"reduction_param.axis is 2.*\(2, 3\)"), (-3, (2, 3), "axis is -3"), (0, (), "axis is 0")],
)
def test_an_axis_that_is_not_there_is_refused(axis: int, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(NetError, match=message):
        run(layer_of(text(f"axis: {axis}")), [random_blob(*shape)])
