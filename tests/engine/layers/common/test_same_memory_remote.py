"""Layers that share memory, between Python layers in other processes: the same bits wherever these run."""

from pathlib import Path

import numpy as np
import pytest

from farlayer.client import ClientOptions, InProcessHost, local_pool
from farlayer.client.host import LayerHost
from farlayer.engine.net_builder import build_net
from farlayer.protos import caffe_pb2
from tests.engine.support import net_param

LAYERS = '''
import caffe
import numpy as np


class Batches(caffe.Layer):
    """Draws a batch, larger and smaller from call to call; asks for no gradient."""

    def setup(self, bottom, top):
        self.random = np.random.RandomState(3)

    def reshape(self, bottom, top):
        self.size = self.random.randint(1, 9)
        top[0].reshape(self.size, 6)

    def forward(self, bottom, top):
        top[0].data[...] = self.random.randn(self.size, 6)

    def backward(self, top, propagate_down, bottom):
        pass


class Scale(caffe.Layer):
    """A learned factor; looks at what is in its diffs, and edits its bottom in forward."""

    def setup(self, bottom, top):
        self.blobs.add_blob(1)
        self.blobs[0].data[...] = 1.5

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        bottom[0].data[...] = np.clip(bottom[0].data, -1, 1)
        top[0].data[...] = bottom[0].data * self.blobs[0].data

    def backward(self, top, propagate_down, bottom):
        self.blobs[0].diff[...] += (top[0].diff * bottom[0].data).sum()
        bottom[0].diff[...] = top[0].diff * self.blobs[0].data


class Weighted(caffe.Layer):
    """The weighted sum of squares: the weights are its second bottom."""

    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape()

    def forward(self, bottom, top):
        flat = bottom[0].data.reshape(-1, 3, 2)
        top[0].data[...] = (bottom[1].data * flat**2).sum()

    def backward(self, top, propagate_down, bottom):
        flat = bottom[0].data.reshape(-1, 3, 2)
        bottom[0].diff.reshape(-1, 3, 2)[...] = 2 * top[0].diff * bottom[1].data * flat
        bottom[1].diff[...] = top[0].diff * (flat**2).sum(axis=0)
'''


def python(name: str, layer: str, blobs: str) -> str:
    return f'layer {{ name: "{name}" type: "Python" {blobs} python_param {{ module: "sharing" layer: "{layer}" }} }}'


NET = "\n".join(
    [
        python("data", "Batches", 'top: "x"'),
        python("first", "Scale", 'bottom: "x" top: "a"'),
        'layer { name: "tanh" type: "TanH" bottom: "a" top: "a" }',
        'layer { name: "r" type: "Reshape" bottom: "a" top: "b" reshape_param { shape { dim: 0 dim: 3 dim: 2 } } }',
        python("second", "Scale", 'bottom: "b" top: "c"'),
        'layer { name: "flatten" type: "Flatten" bottom: "c" top: "d" }',
        'layer { name: "relu" type: "ReLU" bottom: "d" top: "d" relu_param { negative_slope: 0.5 } }',
        'layer { name: "concat" type: "Concat" bottom: "d" top: "e" }',
        'layer { name: "slice" type: "Slice" bottom: "e" top: "f" }',
        'layer { name: "weights" type: "Parameter" top: "w" parameter_param { shape { dim: 3 dim: 2 } } }',
        python("loss", "Weighted", 'bottom: "f" bottom: "w" top: "loss" loss_weight: 0.5'),
    ]
)
#: Memory is planned through Reshape and Flatten, but not through a Concat or Slice of a single blob.
WITHOUT_SINGLES = "\n".join(line for line in NET.splitlines() if "Concat" not in line and "Slice" not in line).replace(
    'bottom: "f"', 'bottom: "d"'
)

WAYS = {
    ("mailbox", "shared"): ClientOptions(carrier="mailbox"),
    ("grpc", "shared"): ClientOptions(carrier="grpc", transport="shared"),
    ("grpc", "streamed"): ClientOptions(transport="streamed"),
}


def course(host: LayerHost) -> tuple[list[bytes], set[tuple[str, str]]]:
    """The contents of all blobs and params after each pass, and carrier and transport of the Python layers."""
    contents: list[bytes] = []
    with build_net(net_param(NET), caffe_pb2.TRAIN, host=host, rng=np.random.default_rng(1)) as net:
        net.layer("weights").params[0].data[...] = np.arange(6).reshape(3, 2)
        for _ in range(12):
            net.clear_param_diffs()
            contents.append(np.float64(net.forward()).tobytes())
            net.backward()
            blobs = (*net.blobs.values(), *(blob for layer in net.layers for blob in layer.params))
            contents.extend(array.tobytes() for blob in blobs for array in (blob.data, blob.diff))
            for blob in net.learnable_params:
                blob.data[...] -= 0.01 * blob.diff
        reports = [session.report() for session in net.python_sessions]
    return contents, {(report.carrier, report.transport) for report in reports}


@pytest.fixture(name="sharing")
def fixture_sharing(layer_dir: Path) -> Path:
    (layer_dir / "sharing.py").write_text(LAYERS, encoding="utf-8")
    return layer_dir


def test_shared_memory_between_python_layers_is_the_same_in_process_shared_and_streamed(sharing: Path) -> None:
    with InProcessHost() as host:
        expected, _ = course(host)
    for way, options in WAYS.items():
        with local_pool(1, python_path=[str(sharing)], options=options) as pool:
            found, ways = course(pool)
        assert ways == {way}
        assert found == expected, way


def test_between_python_layers_on_shared_memory_nothing_is_copied(sharing: Path) -> None:
    with (
        local_pool(1, python_path=[str(sharing)], options=WAYS["mailbox", "shared"]) as pool,
        build_net(net_param(WITHOUT_SINGLES), caffe_pb2.TRAIN, host=pool) as net,
    ):
        for _ in range(3):
            net.forward()
            net.backward()
        assert net.blobs["b"].data_segment is net.blobs["a"].data_segment
        assert net.blobs["b"].diff_segment is net.blobs["a"].diff_segment
        assert net.blobs["w"].data_segment is net.layer("weights").params[0].data_segment
        moved = {session.spec.name: session.report().bytes_moved for session in net.python_sessions}
        assert moved == dict.fromkeys(moved, 0)
