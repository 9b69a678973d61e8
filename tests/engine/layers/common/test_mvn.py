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

OPTIONS = {
    "": dict(),
    "across_channels: true": dict(across=True),
    "normalize_variance: false": dict(variance=False),
    "across_channels: true normalize_variance: false": dict(across=True, variance=False),
    "eps: 0.5": dict(eps=0.5),
}


def text(options: str = "") -> str:
    return f'type: "MVN" mvn_param {{ {options} }}'


def expected(x: np.ndarray, across: bool = False, variance: bool = True, eps: float = 1e-9) -> np.ndarray:
    """Sample by sample, and channel by channel unless across, in double precision."""
    result = np.zeros((*x.shape, 1, 1, 1, 1)[:4])
    for sample, out in zip(x.reshape(result.shape).astype(np.float64), result, strict=True):
        groups = [...] if across else range(len(sample))
        for group in groups:
            centered = sample[group] - sample[group].mean()
            deviation = np.sqrt((centered**2).mean())
            out[group] = centered / (deviation + eps) if variance else centered
    return result


@pytest.mark.parametrize("bound", [1, 1 << 18])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 2, 6), (1, 1, 2, 2)])
def test_every_image_or_channel_gets_mean_0_and_deviation_1(
    shape: tuple[int, ...], options: str, bound: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_VALUES", bound)
    bottom = blob_of(random_blob(*shape).data * 3 + 5)
    (top,) = run(layer_of(text(options)), [bottom])
    np.testing.assert_allclose(top.data, expected(bottom.data, **OPTIONS[options]), rtol=1e-4, atol=1e-5)


@given(shape=st.tuples(*[st.integers(1, 4)] * 3, st.integers(2, 5)), across=st.booleans())
@settings(max_examples=25, deadline=None)
def test_any_shape_is_normalized(shape: tuple[int, ...], across: bool) -> None:
    bottom = random_blob(*shape)
    (top,) = run(layer_of(text(f"across_channels: {str(across).lower()} eps: 0.1")), [bottom])
    np.testing.assert_allclose(top.data, expected(bottom.data, across=across, eps=0.1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(), (3,), (3, 2), (3, 2, 4), (2, 3, 4, 5)])
def test_the_top_has_4_axes_as_in_caffe(shape: tuple[int, ...]) -> None:
    layer = layer_of(text("normalize_variance: false"))
    (top,) = set_up(layer, [random_blob(*shape)])
    assert top.shape == (*shape, 1, 1, 1, 1)[:4]


@pytest.mark.parametrize("options", list(OPTIONS)[:4])
@pytest.mark.parametrize("shape", [(2, 2, 3, 2), (1, 2, 4)])
def test_the_gradient_is_right(shape: tuple[int, ...], options: str) -> None:
    assert GradientChecker().check(layer_of(text(options)), [blob_of(random_blob(*shape).data * 2)], [Blob()])


def test_a_large_eps_divides_the_gradient_as_in_caffe() -> None:
    bottom = random_blob(2, 2, 3, 2)
    layer = layer_of(text("eps: 0.5"))
    (top,) = run(layer, [bottom])
    top.diff[...] = random_blob(2, 2, 3, 2, seed=3).data
    layer.run_backward([top], [True], [bottom])
    y, dy, axes = top.data.astype(np.float64), top.diff.astype(np.float64), dict(axis=(2, 3), keepdims=True)
    gradient = dy - dy.mean(**axes) - y * (dy * y).mean(**axes)
    np.testing.assert_allclose(bottom.diff, gradient / (bottom.data.std(**axes) + 0.5), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", OPTIONS)
def test_in_place_gives_the_same_values_and_gradients(options: str) -> None:
    apart, in_place = random_blob(2, 3, 4, 2), random_blob(2, 3, 4, 2)
    apart_layer, layer = layer_of(text(options)), layer_of(text(options))
    (top,) = run(apart_layer, [apart])
    layer.run_setup([in_place], [in_place])
    layer.run_forward([in_place], [in_place])
    np.testing.assert_array_equal(in_place.data, top.data)
    top.diff[...] = in_place.diff[...] = random_blob(2, 3, 4, 2, seed=3).data
    apart_layer.run_backward([top], [True], [apart])
    layer.run_backward([in_place], [True], [in_place])
    np.testing.assert_array_equal(in_place.diff, apart.diff)


def test_without_propagate_down_the_diff_stays() -> None:
    bottom = random_blob(2, 3, 2, 2)
    layer = layer_of(text())
    top = run(layer, [bottom])
    untouched(bottom)
    layer.run_backward(top, [False], [bottom])
    assert_untouched(bottom)


@pytest.mark.parametrize("shape", [(0, 3, 2, 2), (2, 3, 0, 2)])
@pytest.mark.parametrize("options", OPTIONS)
def test_an_empty_batch_passes(shape: tuple[int, ...], options: str) -> None:
    bottom = random_blob(*shape)
    layer = layer_of(text(options))
    top = run(layer, [bottom])
    layer.run_backward(top, [True], [bottom])
    assert top[0].shape == shape


@pytest.mark.parametrize("options", OPTIONS)
def test_in_a_steady_state_nothing_is_allocated(options: str) -> None:
    assert_nothing_is_allocated(layer_of(text(options)), [random_blob(8, 64, 12, 12)])


def test_more_than_4_axes_are_refused() -> None:
    with pytest.raises(NetError, match=r"bottom shape \(1, 2, 3, 4, 5\) has 5 axes, expected at most 4") as caught:
        run(layer_of(text()), [random_blob(1, 2, 3, 4, 5)])
    assert caught.value.layer == "l"
