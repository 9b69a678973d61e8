from pathlib import Path

import numpy as np
import pytest

from farlayer.client.in_process_host import InProcessHost
from farlayer.engine.net import Net
from farlayer.engine.net_builder import build_net
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import LayerError, LayerLoadError, NetError
from tests.engine.support import net_param

LAYERS = '''
import json
import caffe
import numpy as np

class Scale(caffe.Layer):
    """y = w x, w a param; counts its calls."""
    calls = []

    def setup(self, bottom, top):
        Scale.calls = ["setup"]
        self.blobs.add_blob(1)
        self.blobs[0].data[...] = json.loads(self.param_str or "2")

    def reshape(self, bottom, top):
        Scale.calls.append("reshape")
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        Scale.calls.append("forward")
        top[0].data[...] = bottom[0].data * self.blobs[0].data[0]

    def backward(self, top, propagate_down, bottom):
        Scale.calls.append("backward")
        self.blobs[0].diff[0] += (top[0].diff * bottom[0].data).sum()
        if propagate_down[0]:
            bottom[0].diff[...] = top[0].diff * self.blobs[0].data[0]

class Loss(caffe.Layer):
    """Half the sum of squares."""
    def setup(self, bottom, top):
        if len(bottom) != 1:
            raise RuntimeError("one bottom, please")

    def reshape(self, bottom, top):
        top[0].reshape(1)

    def forward(self, bottom, top):
        top[0].data[...] = (bottom[0].data ** 2).sum() / 2

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            bottom[0].diff[...] = bottom[0].data * top[0].diff[0]

class Phase(caffe.Layer):
    def setup(self, bottom, top): pass
    def reshape(self, bottom, top): top[0].reshape(1)
    def forward(self, bottom, top): top[0].data[...] = self.phase
    def backward(self, top, propagate_down, bottom): pass
'''
INPUT = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }'
SCALE = 'layer { name: "s" type: "Python" bottom: "x" top: "%s" python_param { module: "layers" layer: "Scale" } %s }'
LOSS = 'layer { name: "l" type: "Python" bottom: "y" top: "loss" python_param { module: "layers" layer: "Loss" } %s }'


@pytest.fixture(autouse=True)
def layers_module(layer_dir: Path) -> None:
    (layer_dir / "layers.py").write_text(LAYERS)


@pytest.fixture
def host() -> InProcessHost:
    with InProcessHost() as host:
        yield host


def build(host: InProcessHost, *layers: str, phase: caffe_pb2.Phase.ValueType = caffe_pb2.TRAIN) -> Net:
    return build_net(net_param("\n".join([INPUT, *layers])), phase, host=host)


def test_a_python_layer_and_its_param_train_like_native_ones(host: InProcessHost) -> None:
    with build(host, SCALE % ("y", ""), LOSS % "loss_weight: 1") as net:
        net.blobs["x"].data[...] = [[1, 2, 3], [4, 5, 6]]
        assert net.forward() == pytest.approx(0.5 * 4 * 91)
        net.clear_param_diffs()
        net.backward()
        assert [blob.shape for blob in net.learnable_params] == [(1,)]
        assert net.learnable_params[0].diff[0] == pytest.approx(2 * 91)


def test_it_is_a_loss_by_its_loss_weight_only(host: InProcessHost) -> None:
    with build(host, SCALE % ("y", ""), LOSS % "") as net:
        net.blobs["x"].data.fill(1)
        assert net.forward() == 0
        net.backward()
        assert not net.blobs["y"].diff.any()


def test_the_loss_weight_reaches_its_backward(host: InProcessHost) -> None:
    with build(host, SCALE % ("y", ""), LOSS % "loss_weight: 0.5") as net:
        net.blobs["x"].data.fill(1)
        assert net.forward() == pytest.approx(0.5 * 0.5 * 24)
        net.backward()
        assert (net.blobs["y"].diff == 1).all()


def test_setup_and_one_reshape_come_before_the_first_forward_and_a_reshape_before_each(host: InProcessHost) -> None:
    with build(host, SCALE % ("y", ""), LOSS % "loss_weight: 1") as net:
        net.forward()
        net.backward()
        net.forward()
        import layers

        expected = ["setup", "reshape", "reshape", "forward", "backward", "reshape", "forward"]
        assert layers.Scale.calls == expected


def test_it_works_in_place_where_the_net_says_so(host: InProcessHost) -> None:
    with build(host, SCALE % ("x", "")) as net:
        net.blobs["x"].data.fill(3)
        net.forward()
        assert (net.blobs["x"].data == 6).all()
        assert net.outputs == ["x"]


def test_propagate_down_reaches_it(host: InProcessHost) -> None:
    with build(host, SCALE % ("y", "propagate_down: false"), LOSS % "loss_weight: 1") as net:
        net.blobs["x"].diff.fill(17)
        net.forward()
        net.backward()
        assert (net.blobs["x"].diff == 17).all()


def test_it_gets_its_param_str(host: InProcessHost) -> None:
    scale = (SCALE % ("y", "")).replace('"Scale"', '"Scale" param_str: "5"')
    with build(host, scale) as net:
        assert net.layer("s").params[0].data[0] == 5


@pytest.mark.parametrize("phase", [caffe_pb2.TRAIN, caffe_pb2.TEST])
def test_it_knows_its_phase(host: InProcessHost, phase: caffe_pb2.Phase.ValueType) -> None:
    text = 'layer { name: "p" type: "Python" top: "p" python_param { module: "layers" layer: "Phase" } }'
    with build(host, text, phase=phase) as net:
        net.forward()
        assert net.blobs["p"].data[0] == phase


def test_its_params_can_come_with_the_definition(host: InProcessHost) -> None:
    with build(host, SCALE % ("y", "blobs { shape { dim: 1 } data: 7 }")) as net:
        assert net.layer("s").params[0].data[0] == 7


def test_params_of_the_definition_must_fit_those_that_it_adds(host: InProcessHost) -> None:
    with pytest.raises(NetError, match=r"shapes \[\(2,\)\].*setup added \[\(1,\)\]"):
        build(host, SCALE % ("y", "blobs { shape { dim: 2 } data: 7 data: 8 }"))


def test_an_error_of_its_setup_keeps_its_type(host: InProcessHost) -> None:
    text = LOSS.replace('bottom: "y"', 'bottom: "x" bottom: "x"') % ""
    with pytest.raises(RuntimeError, match="one bottom, please") as caught:
        build(host, text)
    assert isinstance(caught.value, LayerError)
    assert caught.value.layer == "l"


def test_a_module_that_is_not_there_is_named(host: InProcessHost) -> None:
    with pytest.raises(LayerLoadError, match="no_such_module"):
        build(host, (SCALE % ("y", "")).replace('"layers"', '"no_such_module"'))


@pytest.mark.parametrize("field", ["module", "layer"])
def test_an_empty_module_or_class_is_refused(host: InProcessHost, field: str) -> None:
    text = SCALE % ("y", "")
    text = text.replace('module: "layers"', "") if field == "module" else text.replace('layer: "Scale"', "")
    with pytest.raises(NetError, match=f"python_param.{field} is empty"):
        build(host, text)


def test_its_session_can_be_reported_on_after_the_net_is_closed(host: InProcessHost) -> None:
    with build(host, SCALE % ("y", "")) as net:
        net.forward()
    assert [session.report().layer for session in net.python_sessions] == ["s"]
    assert np.array_equal(net.layer("s").params[0].data, [2])


def test_a_split_in_front_of_it_gives_it_the_same_values(host: InProcessHost) -> None:
    other = (SCALE % ("z", "")).replace('name: "s"', 'name: "s2"')
    with build(host, SCALE % ("y", ""), other) as net:
        net.blobs["x"].data.fill(4)
        net.forward()
        assert (net.blobs["y"].data == 8).all()
        assert (net.blobs["z"].data == 8).all()
