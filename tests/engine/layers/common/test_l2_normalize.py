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

TEXT = 'type: "L2Normalize"'


@pytest.mark.parametrize("bound", [1, 1 << 18])
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 4, 5), (4,), (2, 2, 2, 2, 2)])
def test_every_sample_gets_length_1(shape: tuple[int, ...], bound: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_VALUES", bound)
    bottom = random_blob(*shape)
    (top,) = run(layer_of(TEXT), [bottom])
    assert top.shape == shape
    for x, y in zip(bottom.data, top.data, strict=True):
        np.testing.assert_allclose(y, x / np.linalg.norm(x.astype(np.float64)), rtol=1e-5, atol=1e-6)


@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=4), scale=st.floats(1e-3, 1e3))
@settings(max_examples=25, deadline=None)
def test_any_shape_is_normalized(shape: list[int], scale: float) -> None:
    bottom = blob_of(random_blob(*shape).data * scale)
    (top,) = run(layer_of(TEXT), [bottom])
    rows = bottom.data.reshape(shape[0], -1).astype(np.float64)
    expected = rows / np.sqrt((rows**2).sum(axis=1, keepdims=True) + 1e-7)
    np.testing.assert_allclose(top.data.reshape(rows.shape), expected, rtol=1e-4, atol=1e-5)


def test_a_sample_of_zeros_stays_as_it_is() -> None:
    bottom = blob_of([[0, 0], [3, 4]])
    layer = layer_of(TEXT)
    (top,) = run(layer, [bottom])
    np.testing.assert_allclose(top.data, [[0, 0], [0.6, 0.8]], rtol=1e-6)
    layer.run_backward([top], [True], [bottom])
    assert np.isfinite(bottom.diff).all()


@pytest.mark.parametrize("shape", [(3, 4), (2, 2, 3), (2, 2, 1, 2)])
def test_the_gradient_is_right(shape: tuple[int, ...]) -> None:
    assert GradientChecker().check(layer_of(TEXT), [blob_of(random_blob(*shape).data * 2)], [Blob()])


def test_without_propagate_down_the_diff_stays() -> None:
    bottom = random_blob(2, 3)
    layer = layer_of(TEXT)
    top = run(layer, [bottom])
    untouched(bottom)
    layer.run_backward(top, [False], [bottom])
    assert_untouched(bottom)


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_an_empty_batch_passes(shape: tuple[int, ...]) -> None:
    bottom = random_blob(*shape)
    layer = layer_of(TEXT)
    top = run(layer, [bottom])
    layer.run_backward(top, [True], [bottom])
    assert top[0].shape == shape


def test_the_batch_may_change_between_calls() -> None:
    bottom = random_blob(2, 3)
    layer = layer_of(TEXT)
    top = set_up(layer, [bottom])
    bottom.reshape(6, 4)
    bottom.data.fill(2)
    layer.run_forward([bottom], top)
    np.testing.assert_allclose(top[0].data, np.full((6, 4), 0.5), rtol=1e-5)


@pytest.mark.parametrize("shape", [(64, 1000), (2, 64, 30, 30)])
def test_in_a_steady_state_nothing_is_allocated(shape: tuple[int, ...]) -> None:
    assert_nothing_is_allocated(layer_of(TEXT), [random_blob(*shape)])


def test_a_bottom_without_axes_is_refused() -> None:
    with pytest.raises(NetError, match="the bottom has no axes"):
        run(layer_of(TEXT), [random_blob()])


def test_working_in_place_is_refused() -> None:
    with pytest.raises(NetError, match="does not work in place"):
        native_net(
            'layer { name: "in" type: "Input" top: "a" input_param { shape { dim: 2 } } }'
            'layer { name: "l" type: "L2Normalize" bottom: "a" top: "a" }'
        )
