"""The same net gives the same bits wherever its Python layers run."""

from __future__ import annotations

from pathlib import Path

import pytest

from farlayer.client import ClientOptions, InProcessHost, local_pool
from farlayer.client.host import LayerHost
from farlayer.engine.prototxt import parse
from farlayer.engine.solvers import build_solver
from farlayer.engine.solvers.listener import SolverListener
from farlayer.protos import caffe_pb2

ITERATIONS = 50

LAYERS = '''
import caffe
import numpy as np


class Batches(caffe.Layer):
    """Draws a batch in forward; its size changes from call to call."""

    def setup(self, bottom, top):
        self.random = np.random.RandomState(int(self.param_str))

    def reshape(self, bottom, top):
        self.size = self.random.randint(3, 9)
        top[0].reshape(self.size, 1, 8, 8)
        top[1].reshape(self.size)

    def forward(self, bottom, top):
        labels = self.random.randint(0, 3, self.size)
        top[0].data[...] = self.random.randn(self.size, 1, 8, 8) + labels[:, None, None, None]
        top[1].data[...] = labels

    def backward(self, top, propagate_down, bottom):
        pass


class Scale(caffe.Layer):
    """A learned factor for each channel; adds to the diff of its params, and edits its bottom in forward."""

    def setup(self, bottom, top):
        self.blobs.add_blob(bottom[0].channels)
        self.blobs[0].data[...] = 1.0

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        bottom[0].data[...] = np.clip(bottom[0].data, -3, 3)
        top[0].data[...] = bottom[0].data * self.blobs[0].data[None, :, None, None]

    def backward(self, top, propagate_down, bottom):
        self.blobs[0].diff[...] += (top[0].diff * bottom[0].data).sum(axis=(0, 2, 3))
        bottom[0].diff[...] = top[0].diff * self.blobs[0].data[None, :, None, None]


class Smooth(caffe.Layer):
    """In place, with a state that outlives the call."""

    def setup(self, bottom, top):
        self.mean = 0.0

    def reshape(self, bottom, top):
        pass

    def forward(self, bottom, top):
        self.mean = 0.9 * self.mean + 0.1 * float(bottom[0].data.mean())
        top[0].data[...] -= self.mean

    def backward(self, top, propagate_down, bottom):
        pass


class Loss(caffe.Layer):
    """Squared distance of the scores to the one-hot labels."""

    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        self.difference = np.zeros(bottom[0].shape, np.float32)
        top[0].reshape()

    def forward(self, bottom, top):
        wanted = np.eye(bottom[0].channels, dtype=np.float32)[bottom[1].data.astype(int)]
        self.difference[...] = bottom[0].data - wanted
        top[0].data[...] = (self.difference**2).sum() / bottom[0].num

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = 2 * top[0].diff * self.difference / bottom[0].num
'''

SOLVER = """
base_lr: 0.002 momentum: 0.9 weight_decay: 0.001 lr_policy: "inv" gamma: 0.01 power: 0.75
max_iter: 50 random_seed: 7 snapshot_after_train: false test_iter: 1 test_interval: 10
net_param {
  name: "agree"
  layer { name: "data" type: "Python" top: "data" top: "label"
          python_param { module: "agreeing_layers" layer: "Batches" param_str: "3" } }
  layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
          convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
  layer { name: "scale" type: "Python" bottom: "conv" top: "scaled"
          python_param { module: "agreeing_layers" layer: "Scale" } }
  layer { name: "again" type: "Python" bottom: "conv" top: "twice"
          python_param { module: "agreeing_layers" layer: "Scale" } }
  layer { name: "smooth" type: "Python" bottom: "scaled" top: "scaled"
          python_param { module: "agreeing_layers" layer: "Smooth" } }
  layer { name: "relu" type: "ReLU" bottom: "scaled" top: "scaled" }
  layer { name: "pool" type: "Pooling" bottom: "scaled" top: "pool"
          pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
  layer { name: "scores" type: "InnerProduct" bottom: "pool" top: "scores"
          inner_product_param { num_output: 3 weight_filler { type: "gaussian" std: 0.1 } } }
  layer { name: "more" type: "InnerProduct" bottom: "twice" top: "more"
          inner_product_param { num_output: 3 weight_filler { type: "gaussian" std: 0.1 } } }
  layer { name: "loss" type: "Python" bottom: "scores" bottom: "label" top: "loss" loss_weight: 1
          python_param { module: "agreeing_layers" layer: "Loss" } }
  layer { name: "loss2" type: "Python" bottom: "more" bottom: "label" top: "loss2" loss_weight: 0.5
          python_param { module: "agreeing_layers" layer: "Loss" } }
}
"""

WAYS = {
    ("mailbox", "shared"): ClientOptions(carrier="mailbox"),
    ("grpc", "shared"): ClientOptions(carrier="grpc", transport="shared"),
    ("grpc", "streamed"): ClientOptions(transport="streamed"),
}


class Course(SolverListener):
    def __init__(self) -> None:
        self.losses: list[float] = []
        self.tests: list[tuple[int, dict[str, list[float]]]] = []

    def on_iteration(self, iteration: int, loss: float, learning_rate: float) -> None:
        self.losses.append(loss)

    def on_test(self, test_net_index: int, iteration: int, outputs: dict[str, list[float]]) -> None:
        self.tests.append((iteration, outputs))


def train(host: LayerHost, folder: Path) -> tuple[Course, list[bytes], set[tuple[str, str]]]:
    """Losses and tests, the params of both nets at the end, and carrier and transport of the Python layers."""
    solver = build_solver(parse(SOLVER, caffe_pb2.SolverParameter()), host=host, base_dir=folder)
    course = Course()
    solver.add_listener(course)
    solver.step(ITERATIONS)
    nets = (solver.net, *solver.test_nets)
    params = [blob.data.tobytes() for net in nets for layer in net.layers for blob in layer.params]
    reports = [session.report() for net in nets for session in net.python_sessions]
    solver.close()
    return course, params, {(report.carrier, report.transport) for report in reports}


@pytest.fixture(name="folder")
def fixture_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "agreeing_layers.py").write_text(LAYERS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_fifty_iterations_give_the_same_bits_in_process_shared_and_streamed(folder: Path) -> None:
    with InProcessHost() as host:
        course, params, _ = train(host, folder)
    assert len(course.losses) == ITERATIONS
    assert course.losses[-1] < course.losses[0]
    assert [iteration for iteration, _ in course.tests] == [0, 10, 20, 30, 40]
    assert all(set(outputs) == {"loss", "loss2"} for _, outputs in course.tests)

    for way, options in WAYS.items():
        with local_pool(options=options) as pool:
            found, found_params, ways = train(pool, folder)

        assert ways == {way}
        assert found.losses == course.losses, way
        assert found.tests == course.tests, way
        assert found_params == params, way
