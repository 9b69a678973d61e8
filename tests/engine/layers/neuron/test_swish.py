import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from tests.engine.support import layer_of, random_blob, run

BETAS = [1, 1.5, 0, -0.5]


def text(beta: float) -> str:
    return f'type: "Swish" swish_param {{ beta: {beta} }}'


@pytest.mark.parametrize("beta", BETAS)
def test_forward_is_x_times_its_sigmoid(beta: float) -> None:
    bottom = random_blob(3, 4)
    (top,) = run(layer_of(text(beta)), [bottom])
    x = bottom.data.astype(np.float64)
    np.testing.assert_allclose(top.data, x / (1 + np.exp(-beta * x)), rtol=1e-5)


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 3, 2)])
def test_the_gradient_is_right(beta: float, shape: tuple[int, ...]) -> None:
    assert GradientChecker().check(layer_of(text(beta)), [random_blob(*shape)], [Blob()])
