import numpy as np

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from tests.engine.support import layer_of, random_blob, run


def test_forward_is_the_hyperbolic_tangent() -> None:
    bottom = random_blob(2, 3, 4)
    (top,) = run(layer_of('type: "TanH"'), [bottom])
    np.testing.assert_allclose(top.data, np.tanh(bottom.data), rtol=1e-6)


def test_the_gradient_is_right() -> None:
    assert GradientChecker().check(layer_of('type: "TanH"'), [random_blob(2, 3)], [Blob()])
