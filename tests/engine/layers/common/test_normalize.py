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
    random_blob,
    run,
    set_up,
    untouched,
)

EACH = [(across, shared) for across in (True, False) for shared in (True, False)]


def text(across: bool = True, shared: bool = True, more: str = 'scale_filler { type: "gaussian" mean: 3 }') -> str:
    fields = f"across_spatial: {str(across).lower()} channel_shared: {str(shared).lower()} {more}"
    return f'type: "Normalize" norm_param {{ {fields} }}'


def expected(x: np.ndarray, scale: np.ndarray, across: bool, eps: float = 1e-10) -> np.ndarray:
    wide = x.astype(np.float64)
    norm = np.sqrt((wide**2).sum(axis=tuple(range(1, x.ndim)) if across else 1, keepdims=True) + eps)
    return wide / norm * scale.reshape((-1,) + (1,) * (x.ndim - 2))


@pytest.mark.parametrize("bound", [1, 7, 1 << 18])
@pytest.mark.parametrize(("across", "shared"), EACH)
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 4), (1, 2, 3), (2, 2, 2, 2, 2)])
def test_vectors_get_the_length_of_the_scale(
    shape: tuple[int, ...], across: bool, shared: bool, bound: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_VALUES", bound)
    bottom = random_blob(*shape)
    layer = layer_of(text(across, shared))
    (top,) = run(layer, [bottom])
    (scale,) = layer.params
    assert scale.shape == (() if shared else shape[1:2])
    np.testing.assert_allclose(top.data, expected(bottom.data, scale.data, across), rtol=1e-4, atol=1e-5)


def test_by_default_samples_get_length_1() -> None:
    bottom = random_blob(2, 3, 4)
    (top,) = run(layer_of('type: "Normalize"'), [bottom])
    np.testing.assert_allclose(np.linalg.norm(top.data.reshape(2, -1), axis=1), [1, 1], rtol=1e-5)


def test_conv4_3_norm_of_ssd_gives_every_pixel_length_20() -> None:
    bottom = random_blob(1, 16, 3, 3)
    layer = layer_of(text(False, False, 'scale_filler { type: "constant" value: 20 }'))
    (top,) = run(layer, [bottom])
    np.testing.assert_allclose(np.linalg.norm(top.data, axis=1), np.full((1, 3, 3), 20), rtol=1e-5)


@given(shape=st.lists(st.integers(1, 4), min_size=2, max_size=4), across=st.booleans(), shared=st.booleans())
@settings(max_examples=25, deadline=None)
def test_any_shape_is_normalized(shape: list[int], across: bool, shared: bool) -> None:
    bottom = random_blob(*shape)
    layer = layer_of(text(across, shared, "eps: 0.01"))
    (top,) = run(layer, [bottom])
    reference = expected(bottom.data, layer.params[0].data, across, 0.01)
    np.testing.assert_allclose(top.data, reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bound", [1, 1 << 18])
@pytest.mark.parametrize(("across", "shared"), EACH)
@pytest.mark.parametrize("shape", [(2, 3, 2, 2), (2, 3)])
def test_the_gradient_is_right_where_channels_have_one_scale(
    shape: tuple[int, ...], across: bool, shared: bool, bound: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_VALUES", bound)
    bottom = blob_of(random_blob(*shape).data + 2)
    layer = layer_of(text(across, shared, 'scale_filler { type: "constant" value: 3 }'))
    assert GradientChecker().check(layer, [bottom], [Blob()])


@pytest.mark.parametrize("across", [True, False])
def test_the_gradient_of_the_scale_is_right_for_scales_that_differ(across: bool) -> None:
    bottom = blob_of(random_blob(2, 3, 2, 2).data + 2)
    assert GradientChecker().check(layer_of(text(across, shared=False)), [bottom], [Blob()], check_bottom=[])


@pytest.mark.parametrize("bound", [1, 1 << 18])
@pytest.mark.parametrize("across", [True, False])
def test_the_gradient_of_x_is_that_of_the_fork_for_scales_that_differ(
    across: bool, bound: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_VALUES", bound)
    bottom = random_blob(2, 3, 2, 2)
    layer = layer_of(text(across, shared=False))
    (top,) = run(layer, [bottom])
    top.diff[...] = random_blob(2, 3, 2, 2, seed=2).data
    layer.run_backward([top], [True], [bottom])
    x, dy = bottom.data.astype(np.float64), top.diff.astype(np.float64)
    axes = (1, 2, 3) if across else 1
    norm = np.sqrt((x * x).sum(axes, keepdims=True) + 1e-10)
    of_unit_scale = (dy - x * (x * dy).sum(axes, keepdims=True) / norm**2) / norm
    scale = layer.params[0].data.reshape(3, 1, 1)
    np.testing.assert_allclose(bottom.diff, of_unit_scale * scale, rtol=1e-4, atol=1e-5)


def test_a_scale_of_0_has_a_gradient() -> None:
    layer = layer_of(text(False, False, 'scale_filler { type: "constant" value: 0 }'))
    assert GradientChecker().check(layer, [blob_of(random_blob(1, 3, 2).data + 2)], [Blob()])


@pytest.mark.parametrize(("across", "shared"), EACH)
def test_gradients_of_the_scale_add_up_where_it_learns(across: bool, shared: bool) -> None:
    bottom = random_blob(2, 3, 4)
    layer = layer_of(text(across, shared))
    top = run(layer, [bottom])
    top[0].diff[...] = random_blob(2, 3, 4, seed=2).data
    layer.run_backward(top, [False], [bottom])
    once = layer.params[0].diff.copy()
    assert once.all()
    layer.run_backward(top, [False], [bottom])
    np.testing.assert_allclose(layer.params[0].diff, 2 * once, rtol=1e-5)
    layer.param_propagate_down = [False]
    layer.run_backward(top, [True], [bottom])
    np.testing.assert_allclose(layer.params[0].diff, 2 * once, rtol=1e-5)


def test_without_propagate_down_the_diff_stays() -> None:
    bottom = random_blob(2, 3)
    layer = layer_of(text())
    top = run(layer, [bottom])
    untouched(bottom)
    layer.run_backward(top, [False], [bottom])
    assert_untouched(bottom)


@pytest.mark.parametrize("shape", [(0, 3, 2), (2, 3, 0)])
@pytest.mark.parametrize(("across", "shared"), EACH)
def test_an_empty_batch_passes(shape: tuple[int, ...], across: bool, shared: bool) -> None:
    bottom = random_blob(*shape)
    layer = layer_of(text(across, shared))
    top = run(layer, [bottom])
    layer.run_backward(top, [True], [bottom])
    assert top[0].shape == shape
    assert not layer.params[0].diff.any()


@pytest.mark.parametrize(("across", "shared"), EACH)
def test_in_a_steady_state_nothing_is_allocated(across: bool, shared: bool) -> None:
    assert_nothing_is_allocated(layer_of(text(across, shared)), [random_blob(2, 64, 38, 38)])


def test_pixels_may_change_between_calls_but_not_the_channels_of_scales() -> None:
    bottom = random_blob(2, 3, 4)
    layer = layer_of(text(False, False))
    top = set_up(layer, [bottom])
    bottom.reshape(5, 3, 2)
    layer.run_forward([bottom], top)
    assert top[0].shape == (5, 3, 2)
    bottom.reshape(2, 4, 2)
    with pytest.raises(NetError, match=r"bottom shape \(2, 4, 2\) has 4 channels, expected 3"):
        layer.run_forward([bottom], top)


@pytest.mark.parametrize("shared", [True, False])
def test_a_bottom_without_channels_is_refused(shared: bool) -> None:
    with pytest.raises(NetError, match=r"bottom shape \(3,\) has no channels") as caught:
        run(layer_of(text(shared=shared)), [random_blob(3)])
    assert caught.value.layer == "l"
