"""What the tests of vision layers share: layers with each set of kernels."""

from functools import partial

import pytest

from farlayer.engine.kernels.choice import choose_kernels
from tests.engine.kernels.support import MakeLayer
from tests.engine.support import layer_of


@pytest.fixture(params=["numpy", "torch"])
def make_layer(request: pytest.FixtureRequest) -> MakeLayer:
    """As `layer_of`, with the kernels of the parameter."""
    if request.param == "torch":
        # One thread: those of these small products would only wait for each other.
        pytest.importorskip("torch").set_num_threads(1)
    kernels = choose_kernels(request.param)
    return partial(layer_of, kernels=kernels)
