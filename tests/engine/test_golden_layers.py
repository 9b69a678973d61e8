"""Every layer gives what the original Caffe gave: tests/golden/layers."""

from pathlib import Path

import numpy as np
import pytest

from farlayer.client.in_process_host import InProcessHost
from farlayer.engine.gradient_check import GradientChecker
from farlayer.engine.net import Net
from farlayer.engine.net_builder import build_net
from farlayer.engine.registry import known_types
from farlayer.protos import caffe_pb2
from tests.engine.support import net_param

FOLDER = Path(__file__).parents[1] / "golden" / "layers"
#: Bottoms without a gradient, by type: labels, indices, masks, shapes to copy.
WITHOUT_GRADIENT = {
    "BatchReindex": {"idx"},
    "ContrastiveLoss": {"sim"},
    "Crop": {"ref"},
    "Embed": {"x"},
    "Filter": {"sel"},
    "HingeLoss": {"label"},
    "InfogainLoss": {"label", "H"},
    "LSTM": {"cont"},
    "LSTMUnit": {"cont"},
    "MultinomialLogisticLoss": {"label"},
    "RNN": {"cont"},
    "SigmoidCrossEntropyLoss": {"t"},
    "SoftmaxWithLoss": {"label"},
}
#: Steps of finite differences where the usual one is too large for the curvature at the recorded values.
SMALL_STEPS = {"MultinomialLogisticLoss": 1e-3}
#: Around which absolute value the function bends: values near it are left out.
KINKS = {"AbsVal": 0.0, "PReLU": 0.0, "ReLU": 0.0}


def golden_cases() -> list[str]:
    """The recorded cases of those layer types that the engine has."""
    names = [path.stem.removeprefix("layer_") for path in sorted(FOLDER.glob("layer_*.npz"))]
    return [name for name in names if name.split("_")[0] in known_types()]


def values(golden: np.lib.npyio.NpzFile, prefix: str) -> dict[str, np.ndarray]:
    return {key.removeprefix(prefix): golden[key] for key in golden.files if key.startswith(prefix)}


def close(actual: np.ndarray, expected: np.ndarray, what: str) -> None:
    assert actual.shape == expected.shape, what
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5, err_msg=what)


def test_the_recorded_cases_of_the_layers_are_run() -> None:
    assert len(golden_cases()) > 20


def filled_net(golden: np.lib.npyio.NpzFile, param: caffe_pb2.NetParameter) -> Net:
    """The recorded net with the recorded inputs and params."""
    net = build_net(param, caffe_pb2.Phase.Value(str(golden["phase"])), host=InProcessHost())
    layer = net.layer("l")
    for name, data in values(golden, "in:").items():
        net.blobs[name].data[...] = data
    params = values(golden, "param:")
    assert len(params) == len(layer.params)
    for index, data in params.items():
        layer.params[int(index)].data[...] = data
    return net


@pytest.mark.parametrize("case", golden_cases())
def test_a_layer_computes_what_caffe_computes(case: str) -> None:
    golden = np.load(FOLDER / f"layer_{case}.npz")
    with filled_net(golden, net_param(str(golden["prototxt"]))) as net:
        params = net.layer("l").params
        for _ in range(int(golden["forwards"]) if "forwards" in golden else 1):
            net.forward()
        for name, expected in values(golden, "out:").items():
            close(net.blobs[name].data, expected, f"top {name}")
        net.clear_param_diffs()  # before the diffs of tops: Parameter's top shares its param's
        for name, diff in values(golden, "outdiff:").items():
            net.blobs[name].diff[...] = diff
        net.backward()
        # In these nets nothing needs a gradient, so most recorded ones are zero: this checks the plan of backward.
        for name, expected in values(golden, "indiff:").items():
            close(net.blobs[name].diff, expected, f"gradient of {name}")
        for index, expected in values(golden, "paramdiff:").items():
            close(params[int(index)].diff, expected, f"gradient of param {index}")
        for index, expected in values(golden, "param_after:").items():
            close(params[int(index)].data, expected, f"param {index} afterwards")


def smooth_cases() -> list[str]:
    """The cases that finite differences can judge.

    Left out: layers without a gradient, maxima of random values, which swap within any step, and Clip, whose kinks are
    at two values: their own tests choose the values.
    """
    left_out = ("Accuracy", "ArgMax", "Clip", "Eltwise_MAX", "HingeLoss", "Parameter", "Pooling_ma", "Silence", "SPP")
    return [case for case in golden_cases() if not case.startswith((*left_out, "Threshold"))]


@pytest.mark.parametrize("case", smooth_cases())
def test_the_gradients_at_the_recorded_values_agree_with_finite_differences(case: str) -> None:
    golden = np.load(FOLDER / f"layer_{case}.npz")
    with filled_net(golden, net_param(str(golden["prototxt"]))) as net:
        node = next(node for node in net.nodes if node.layer.name == "l")
        without = WITHOUT_GRADIENT.get(node.layer.type_name, set())
        kink = KINKS.get(node.layer.type_name)
        step = SMALL_STEPS.get(node.layer.type_name, 1e-2)
        checker = (
            GradientChecker(step=step) if kink is None else GradientChecker(step=step, kink=kink, kink_range=0.011)
        )
        compared = checker.check(
            node.layer,
            node.bottom,
            node.top,
            check_bottom=[index for index, name in enumerate(node.bottom_names) if name not in without],
            top_diffs=[golden[f"outdiff:{name}"] for name in node.top_names if f"outdiff:{name}" in golden] or None,
        )
        assert compared > 0
