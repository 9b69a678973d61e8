"""Published nets for benchmarks, made from what their papers and model zoo pages say: shapes and layers, no weights."""

from __future__ import annotations

from collections.abc import Callable

from farlayer.engine.prototxt import parse
from farlayer.protos import caffe_pb2

FILLED = 'weight_filler { type: "xavier" }'


class _Text:
    """A prototxt that grows layer by layer; each method returns the name of the layer's top."""

    def __init__(self, name: str, *shape: int) -> None:
        self._num_layers = 0
        dims = " ".join(f"dim: {size}" for size in shape)
        self._lines = [
            f'name: "{name}"',
            f'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {dims} }} }} }}',
        ]

    def add(
        self, kind: str, bottom: str | list[str], param: str = "", *, in_place: bool = False, name: str = ""
    ) -> str:
        self._num_layers += 1
        name = f"{kind.lower()}{self._num_layers}"
        bottoms = [bottom] if isinstance(bottom, str) else bottom
        top = bottoms[0] if in_place else name
        wired = " ".join(f'bottom: "{blob}"' for blob in bottoms)
        self._lines.append(f'layer {{ name: "{name}" type: "{kind}" {wired} top: "{top}" {param} }}')
        return top

    def conv(self, bottom: str, outputs: int, kernel: int, more: str = "", *, relu: bool = True) -> str:
        param = f"convolution_param {{ num_output: {outputs} kernel_size: {kernel} {more} {FILLED} }}"
        top = self.add("Convolution", bottom, param)
        return self.relu(top) if relu else top

    def relu(self, bottom: str) -> str:
        return self.add("ReLU", bottom, in_place=True)

    def pool(self, bottom: str, kernel: int, stride: int, more: str = "") -> str:
        return self.add("Pooling", bottom, f"pooling_param {{ kernel_size: {kernel} stride: {stride} {more} }}")

    def lrn(self, bottom: str) -> str:
        return self.add("LRN", bottom, "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }")

    def inner(self, bottom: str, outputs: int) -> str:
        return self.add("InnerProduct", bottom, f"inner_product_param {{ num_output: {outputs} {FILLED} }}")

    def dropout(self, bottom: str) -> str:
        return self.add("Dropout", bottom, in_place=True)

    def net(self, top: str) -> caffe_pb2.NetParameter:
        self.add("Softmax", top)
        return parse("\n".join(self._lines), caffe_pb2.NetParameter())


def lenet(batch: int) -> caffe_pb2.NetParameter:
    """LeNet for MNIST, as in Caffe's example. Source: LeCun et al. 1998."""
    text = _Text("LeNet", batch, 1, 28, 28)
    top = text.pool(text.conv("data", 20, 5, relu=False), 2, 2)
    top = text.pool(text.conv(top, 50, 5, relu=False), 2, 2)
    return text.net(text.inner(text.relu(text.inner(top, 500)), 10))


def cifar10_quick(batch: int) -> caffe_pb2.NetParameter:
    """The quick model of Caffe's CIFAR-10 example."""
    text = _Text("CIFAR10_quick", batch, 3, 32, 32)
    top = text.relu(text.pool(text.conv("data", 32, 5, "pad: 2", relu=False), 3, 2))
    for outputs in (32, 64):
        top = text.pool(text.conv(top, outputs, 5, "pad: 2"), 3, 2, "pool: AVE")
    return text.net(text.inner(text.inner(top, 64), 10))


def caffenet(batch: int) -> caffe_pb2.NetParameter:
    """CaffeNet: AlexNet with pooling before normalisation. Source: Krizhevsky et al. 2012."""
    text = _Text("CaffeNet", batch, 3, 227, 227)
    top = text.lrn(text.pool(text.conv("data", 96, 11, "stride: 4"), 3, 2))
    top = text.lrn(text.pool(text.conv(top, 256, 5, "pad: 2 group: 2"), 3, 2))
    top = text.conv(text.conv(top, 384, 3, "pad: 1"), 384, 3, "pad: 1 group: 2")
    top = text.pool(text.conv(top, 256, 3, "pad: 1 group: 2"), 3, 2)
    for _ in range(2):
        top = text.dropout(text.relu(text.inner(top, 4096)))
    return text.net(text.inner(top, 1000))


_INCEPTIONS = (  # outputs of 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection; None: a pooling between
    (64, 96, 128, 16, 32, 32),
    (128, 128, 192, 32, 96, 64),
    None,
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
    None,
    (256, 160, 320, 32, 128, 128),
    (384, 192, 384, 48, 128, 128),
)


def googlenet(batch: int) -> caffe_pb2.NetParameter:
    """GoogLeNet without its auxiliary classifiers. Source: Szegedy et al. 2015, table 1."""
    text = _Text("GoogLeNet", batch, 3, 224, 224)
    top = text.lrn(text.pool(text.conv("data", 64, 7, "pad: 3 stride: 2"), 3, 2))
    top = text.lrn(text.conv(text.conv(top, 64, 1), 192, 3, "pad: 1"))
    top = text.pool(top, 3, 2)
    for outputs in _INCEPTIONS:
        if outputs is None:
            top = text.pool(top, 3, 2)
            continue
        one, three_reduce, three, five_reduce, five, projection = outputs
        branches = [
            text.conv(top, one, 1),
            text.conv(text.conv(top, three_reduce, 1), three, 3, "pad: 1"),
            text.conv(text.conv(top, five_reduce, 1), five, 5, "pad: 2"),
            text.conv(text.pool(top, 3, 1, "pad: 1"), projection, 1),
        ]
        top = text.add("Concat", branches)
    top = text.pool(top, 7, 1, "pool: AVE")
    return text.net(text.inner(text.dropout(top), 1000))


NETS: dict[str, tuple[Callable[[int], caffe_pb2.NetParameter], int]] = {
    "LeNet": (lenet, 64),
    "cifar10_quick": (cifar10_quick, 100),
    "CaffeNet": (caffenet, 10),
    "GoogLeNet": (googlenet, 10),
}
"""Each net with the batch that it is timed with."""
