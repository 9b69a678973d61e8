import importlib.util
import logging
import sys

import numpy as np
import pytest

from farlayer.client.in_process_host import InProcessHost
from farlayer.engine.kernels.choice import KERNELS, NUMPY, choose_kernels
from farlayer.engine.layer import LayerContext
from farlayer.engine.layers.neuron.tanh import TanHLayer
from farlayer.engine.layers.vision.convolution import ConvolutionLayer
from farlayer.engine.net_builder import build_net
from farlayer.engine.registry import create_layer
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError
from tests.engine.support import net_param

NET = """
layer { name: "data" type: "Input" top: "x" input_param { shape { dim: 1 dim: 1 dim: 4 dim: 4 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "y" convolution_param { num_output: 1 kernel_size: 3 } }
"""
HAS_TORCH = importlib.util.find_spec("torch") is not None


@pytest.fixture
def broken_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """`import torch` fails, as where the package is damaged."""
    for module in [name for name in sys.modules if name.startswith("farlayer.engine.kernels.torch_")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "torch", None)


def find_something(monkeypatch: pytest.MonkeyPatch, *, found: bool) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if found else None)


def test_numpy_kernels_are_the_layers_themselves() -> None:
    assert choose_kernels("numpy") is NUMPY
    assert NUMPY.layer_class(ConvolutionLayer) is ConvolutionLayer


def test_auto_takes_torch_where_it_is_installed() -> None:
    assert choose_kernels("auto").name == ("torch" if HAS_TORCH else "numpy")


def test_auto_takes_numpy_where_torch_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    find_something(monkeypatch, found=False)
    assert choose_kernels("auto") is NUMPY


@pytest.mark.usefixtures("broken_torch")
def test_auto_takes_numpy_out_loud_where_torch_is_damaged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    find_something(monkeypatch, found=True)
    with caplog.at_level(logging.WARNING):
        assert choose_kernels("auto") is NUMPY
    assert "PyTorch cannot be imported" in caplog.text


@pytest.mark.usefixtures("broken_torch")
def test_torch_that_cannot_be_imported_is_an_error_that_names_the_extra() -> None:
    with pytest.raises(NetError, match="the torch kernels need PyTorch") as caught:
        choose_kernels("torch")
    assert "pip install 'farlayer[torch]'" in caught.value.remedy


def test_unknown_kernels_are_refused() -> None:
    with pytest.raises(NetError, match="unknown kernels 'cuda'; known: auto, numpy, torch"):
        build_net(net_param(NET), caffe_pb2.TEST, host=InProcessHost(), kernels="cuda")


@pytest.mark.parametrize("name", KERNELS)
def test_a_net_is_built_with_the_kernels_that_are_asked_for(name: str) -> None:
    if name == "torch":
        pytest.importorskip("torch")
    with build_net(net_param(NET), caffe_pb2.TEST, host=InProcessHost(), kernels=name) as net:
        layer = net.layer("conv")
    assert layer.type_name == "Convolution"
    is_numpy = name == "numpy" or not HAS_TORCH
    assert (type(layer) is ConvolutionLayer) == is_numpy
    assert isinstance(layer, ConvolutionLayer)


def test_layers_without_kernels_of_their_own_stay_as_they_are() -> None:
    pytest.importorskip("torch")
    context = LayerContext(InProcessHost(), np.random.default_rng(1), choose_kernels("torch"))
    layer = create_layer(caffe_pb2.LayerParameter(name="l", type="TanH"), context)
    assert type(layer) is TanHLayer
