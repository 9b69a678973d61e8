"""The built-in layers, grouped as Caffe groups them; importing this package registers them all."""

from farlayer.engine.layers.common import inner_product, softmax, split
from farlayer.engine.layers.data import dummy_data, input_layer
from farlayer.engine.layers.loss import accuracy, euclidean_loss, softmax_loss
from farlayer.engine.layers.neuron import relu, tanh
from farlayer.engine.layers.python import python
from farlayer.engine.layers.vision import convolution, pooling

__all__ = [
    "accuracy",
    "convolution",
    "dummy_data",
    "euclidean_loss",
    "inner_product",
    "input_layer",
    "pooling",
    "python",
    "relu",
    "softmax",
    "softmax_loss",
    "split",
    "tanh",
]
