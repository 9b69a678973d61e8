import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos.errors import NetError
from tests.engine.support import blob_of, layer_of, random_blob, run

SIGMAS = [1, 3, 0.5]


def text(sigma: float = 1) -> str:
    return f'type: "SmoothL1Loss" smooth_l1_loss_param {{ sigma: {sigma} }}'


def bottoms(num_bottom: int, *shape: int) -> list[Blob]:
    return [random_blob(*shape, seed=seed) for seed in range(num_bottom)]


@pytest.mark.parametrize("shape", [(4, 8), (2, 3, 2, 2)])
@pytest.mark.parametrize("num_bottom", [2, 3, 4])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_loss_is_quadratic_near_zero_and_linear_beyond(
    sigma: float, num_bottom: int, shape: tuple[int, ...]
) -> None:
    bottom = bottoms(num_bottom, *shape)
    (top,) = run(layer_of(text(sigma)), bottom)
    expected = 0.0
    for a, b, *weights in zip(*(blob.data.ravel() for blob in bottom), strict=True):
        inside, outside = [*weights, 1, 1][:2] if num_bottom < 4 else weights
        d = abs(float(inside * (a - b)))
        expected += outside * (0.5 * (sigma * d) ** 2 if d < 1 / sigma**2 else d - 0.5 / sigma**2)
    assert top.data == pytest.approx(expected / shape[0], rel=1e-4)


@pytest.mark.parametrize("num_bottom", [2, 3, 4])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_gradients_are_right(sigma: float, num_bottom: int) -> None:
    bottom = bottoms(num_bottom, 3, 4)
    checker = GradientChecker(step=2e-3, threshold=5e-3)
    assert checker.check(layer_of(text(sigma)), bottom, [Blob()], check_bottom=[0, 1]) == 24


def test_weights_are_constants_whose_gradient_is_zero() -> None:
    # In py-faster-rcnn they come from a Python layer behind the layers that learn, so a gradient is asked for.
    bottom, layer = bottoms(4, 3, 4), layer_of(text())
    top = run(layer, bottom)
    for blob in bottom[2:]:
        blob.diff.fill(17)
    layer.backward(top, [True] * 4, bottom)
    assert not bottom[2].diff.any()
    assert not bottom[3].diff.any()
    assert [layer.allow_force_backward(index) for index in range(4)] == [True, True, False, False]


def test_axes_of_one_at_the_end_do_not_matter() -> None:
    plain = bottoms(4, 3, 4)
    (expected,) = run(layer_of(text()), plain)
    plain[1] = blob_of(plain[1].data.reshape(3, 4, 1, 1))
    (top,) = run(layer_of(text()), plain)
    assert top.data == expected.data


@pytest.mark.parametrize(
    ("shapes", "sigma", "message"),
    [
        ([(3, 4), (3, 5)], 1, r"bottom 1 has shape \(3, 5\), expected \(3, 4\)"),
        ([(3, 4), (3, 4), (3, 1)], 1, r"bottom 2 has shape \(3, 1\), expected \(3, 4\)"),
        ([(3, 4), (3, 4), (3, 4), (2, 4)], 1, r"bottom 3 has shape \(2, 4\), expected \(3, 4\)"),
        ([(3, 4)] * 5, 1, r"takes 2 to 4 bottom blob\(s\), got 5"),
        ([(3, 4)] * 2, 0, "sigma is 0"),
    ],
)
def test_what_does_not_fit_is_refused(shapes: list[tuple[int, ...]], sigma: float, message: str) -> None:
    with pytest.raises(NetError, match=message) as caught:
        run(layer_of(text(sigma)), [Blob(shape) for shape in shapes])
    assert caught.value.layer == "l"


def test_values_where_the_two_pieces_meet_are_on_both() -> None:
    bottom, layer = [blob_of([[0.25, -0.25]]), blob_of([[0, 0]])], layer_of(text(2))
    top = run(layer, bottom)
    layer.backward(top, [True, False], bottom)
    assert top[0].data == pytest.approx(2 * 0.125)
    np.testing.assert_array_equal(bottom[0].diff, [[1, -1]])
