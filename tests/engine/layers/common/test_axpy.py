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
    layer_of,
    random_blob,
    run,
    set_up,
    untouched,
)

TEXT = 'type: "Axpy"'


def blobs(factor: tuple[int, ...], shape: tuple[int, ...]) -> list[Blob]:
    return [random_blob(*factor, seed=1), random_blob(*shape, seed=2), random_blob(*shape, seed=3)]


@pytest.mark.parametrize("bound", [1, 1 << 18])
@pytest.mark.parametrize(
    ("factor", "shape"),
    [((2, 3, 1, 1), (2, 3, 4, 5)), ((2, 3), (2, 3, 4, 5)), ((2, 3), (2, 3)), ((2, 3, 1), (2, 3, 4))],
)
def test_every_channel_of_every_sample_is_scaled_and_added(
    factor: tuple[int, ...], shape: tuple[int, ...], bound: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_VALUES", bound)
    bottom = blobs(factor, shape)
    (top,) = run(layer_of(TEXT), bottom)
    a, x, y = (blob.data for blob in bottom)
    for sample in range(shape[0]):
        for channel in range(shape[1]):
            expected = a[sample, channel] * x[sample, channel] + y[sample, channel]
            np.testing.assert_allclose(top.data[sample, channel], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("factor", "shape"), [((2, 3, 1, 1), (2, 3, 2, 2)), ((2, 2), (2, 2, 3)), ((2, 3), (2, 3))])
def test_the_gradient_is_right(factor: tuple[int, ...], shape: tuple[int, ...]) -> None:
    assert GradientChecker().check(layer_of(TEXT), blobs(factor, shape), [Blob()])


@given(shape=st.lists(st.integers(1, 4), min_size=2, max_size=5))
@settings(max_examples=25, deadline=None)
def test_any_shape_will_do(shape: list[int]) -> None:
    bottom = blobs((shape[0], shape[1]), tuple(shape))
    (top,) = run(layer_of(TEXT), bottom)
    a, x, y = (blob.data for blob in bottom)
    a = a.reshape(a.shape + (1,) * (len(shape) - 2))
    np.testing.assert_allclose(top.data, a * x + y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("without", [0, 1, 2])
def test_without_propagate_down_the_diff_stays(without: int) -> None:
    bottom = blobs((2, 3), (2, 3, 4))
    layer = layer_of(TEXT)
    top = run(layer, bottom)
    for blob in bottom:
        untouched(blob)
    top[0].diff.fill(1)
    layer.run_backward(top, [index != without for index in range(3)], bottom)
    assert_untouched(bottom[without])
    assert all((blob.diff != 17).all() for index, blob in enumerate(bottom) if index != without)


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 3, 0, 4)])
def test_an_empty_batch_has_gradient_0(shape: tuple[int, ...]) -> None:
    bottom = blobs(shape[:2], shape)
    layer = layer_of(TEXT)
    top = run(layer, bottom)
    untouched(bottom[0])
    layer.run_backward(top, [True] * 3, bottom)
    assert top[0].shape == shape
    assert (bottom[0].diff == 0).all()


def test_in_a_steady_state_nothing_is_allocated() -> None:
    assert_nothing_is_allocated(layer_of(TEXT), blobs((8, 32), (8, 32, 12, 12)))


def test_shapes_may_change_between_calls() -> None:
    bottom = blobs((2, 3), (2, 3, 4))
    layer = layer_of(TEXT)
    top = set_up(layer, bottom)
    for blob, shape in zip(bottom, [(5, 3), (5, 3, 6), (5, 3, 6)], strict=True):
        blob.reshape(shape)
    layer.run_forward(bottom, top)
    assert top[0].shape == (5, 3, 6)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(2, 3), (2, 3, 4)], "takes exactly 3 bottom"),
        ([(2, 3), (2, 3, 4), (2, 3, 5)], r"x \(bottom\[1\]\) has shape \(2, 3, 4\), y \(bottom\[2\]\) has \(2, 3, 5\)"),
        ([(2, 4), (2, 3, 4), (2, 3, 4)], r"a \(bottom\[0\]\) has shape \(2, 4\) for x of shape \(2, 3, 4\)"),
        ([(1, 3), (2, 3, 4), (2, 3, 4)], r"a \(bottom\[0\]\) has shape \(1, 3\)"),
        ([(2, 3, 4, 1), (2, 3, 4, 1), (2, 3, 4, 1)], r"a \(bottom\[0\]\) has shape \(2, 3, 4, 1\)"),
        ([(2,), (2,), (2,)], r"x \(bottom\[1\]\) has shape \(2,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(NetError, match=message) as caught:
        run(layer_of(TEXT), [random_blob(*shape) for shape in shapes])
    assert caught.value.layer == "l"
