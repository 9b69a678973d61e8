import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from tests.engine.support import blob_of, layer_of, random_blob, run

TEXT = 'type: "Sigmoid"'


def test_forward_is_the_logistic_function() -> None:
    bottom = random_blob(3, 4)
    (top,) = run(layer_of(TEXT), [bottom])
    np.testing.assert_allclose(top.data, 1 / (1 + np.exp(-bottom.data.astype(np.float64))), rtol=1e-6)


@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 3, 2)])
def test_the_gradient_is_right(shape: tuple[int, ...]) -> None:
    assert GradientChecker().check(layer_of(TEXT), [random_blob(*shape)], [Blob()])


def test_large_values_do_not_overflow() -> None:
    (top,) = run(layer_of(TEXT), [blob_of([-1000, 1000])])
    np.testing.assert_array_equal(top.data, [0, 1])
