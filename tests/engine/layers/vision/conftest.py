"""What the tests of vision layers share: layers with each set of kernels."""

import numpy as np
import pytest

from farlayer.client.in_process_host import InProcessHost
from farlayer.engine.kernels.choice import choose_kernels
from farlayer.engine.layer import Layer, LayerContext
from farlayer.engine.prototxt import parse
from farlayer.engine.registry import create_layer
from farlayer.protos import caffe_pb2
from tests.engine.kernels.support import MakeLayer


@pytest.fixture(params=["numpy", "torch"])
def make_layer(request: pytest.FixtureRequest) -> MakeLayer:
    """As `layer_of`, with the kernels of the parameter."""
    if request.param == "torch":
        # One thread: those of these small products would only wait for each other.
        pytest.importorskip("torch").set_num_threads(1)
    kernels = choose_kernels(request.param)

    def make(text: str, *, phase: caffe_pb2.Phase.ValueType = caffe_pb2.TRAIN) -> Layer:
        param = parse(text, caffe_pb2.LayerParameter())
        param.name = param.name or "l"
        param.phase = phase
        return create_layer(param, LayerContext(InProcessHost(), np.random.default_rng(1), kernels))

    return make
