import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from tests.engine.support import blob_of, layer_of, random_blob, run

ALPHAS = [1, 0.25, 0, -0.5]


def text(alpha: float) -> str:
    return f'type: "ELU" elu_param {{ alpha: {alpha} }}'


@pytest.mark.parametrize("alpha", ALPHAS)
def test_forward_bends_below_zero(alpha: float) -> None:
    bottom = random_blob(3, 4)
    (top,) = run(layer_of(text(alpha)), [bottom])
    expected = [x if x > 0 else alpha * np.expm1(x) for x in bottom.data.astype(np.float64).ravel()]
    np.testing.assert_allclose(top.data.ravel(), expected, rtol=1e-5, atol=1e-7)


def test_alpha_is_one_unless_given() -> None:
    (top,) = run(layer_of('type: "ELU"'), [blob_of([-1])])
    assert top.data[0] == pytest.approx(np.exp(-1) - 1)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 3, 2)])
def test_the_gradient_is_right(alpha: float, shape: tuple[int, ...]) -> None:
    assert GradientChecker(kink_range=0.011).check(layer_of(text(alpha)), [random_blob(*shape)], [Blob()])


def test_large_values_do_not_overflow() -> None:
    (top,) = run(layer_of(text(2)), [blob_of([-1000, 1000])])
    np.testing.assert_array_equal(top.data, [-2, 1000])
