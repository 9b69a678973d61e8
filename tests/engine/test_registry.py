import os
import subprocess
import sys
from pathlib import Path

import pytest

from farlayer.engine.layer import Layer
from farlayer.engine.registry import known_types, layer_class, register
from farlayer.protos.errors import NetError


def test_the_layers_of_this_version_are_known() -> None:
    expected = "Accuracy Convolution DummyData EuclideanLoss InnerProduct Input Pooling Python ReLU Softmax"
    assert {*expected.split(), "SoftmaxWithLoss", "Split", "TanH"} <= set(known_types())


def test_every_class_knows_its_type() -> None:
    assert [layer_class(name).type_name for name in known_types()] == known_types()


def test_an_unknown_type_lists_the_known_ones_and_the_way_out() -> None:
    with pytest.raises(NetError) as caught:
        layer_class("Convolutio", layer="conv1")
    assert caught.value.layer == "conv1"
    assert "'conv1' has the unknown type 'Convolutio'" in caught.value.message
    assert ", ".join(known_types()) in caught.value.message
    assert "did you mean 'Convolution'?" in caught.value.remedy
    assert 'type: "Python"' in caught.value.remedy


def test_a_type_in_letters_of_another_case_is_guessed() -> None:
    for written, meant in (("Relu", "ReLU"), ("batchnorm", "BatchNorm"), ("LRn", "LRN")):
        with pytest.raises(NetError) as caught:
            layer_class(written)
        assert f"did you mean '{meant}'?" in caught.value.remedy
        assert caught.value.message.startswith(f"the unknown type '{written}'; known types: ")


def test_a_layer_without_a_type_is_told_so() -> None:
    with pytest.raises(NetError, match=r"^layer 'conv1' has no type; known types: ") as caught:
        layer_class("", layer="conv1")
    assert caught.value.remedy == 'write one, type: "Convolution"'


def test_a_type_has_one_class() -> None:
    class OtherLayer(Layer):
        pass

    with pytest.raises(ValueError, match="layer type 'TanH' is TanHLayer already"):
        register("TanH")(OtherLayer)
    assert layer_class("TanH") is not OtherLayer


def test_another_package_supplies_a_layer_by_an_entry_point(tmp_path: Path) -> None:
    """In a process of its own, where a distribution with entry points lies on the path."""
    (tmp_path / "supplied_layers.py").write_text(
        "from farlayer.engine.layers.neuron.neuron_layer import NeuronLayer\n"
        "class TwiceLayer(NeuronLayer):\n"
        "    def forward(self, bottom, top):\n"
        "        top[0].data[...] = 2 * bottom[0].data\n"
        "NotALayer = 3\n"
    )
    info = tmp_path / "supplied_layers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: supplied-layers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[farlayer.layers]\nTwice = supplied_layers:TwiceLayer\nNumber = supplied_layers:NotALayer\n"
        "Missing = no_such_module:Layer\n"
    )
    script = (
        "from farlayer.engine.registry import known_types, layer_class\n"
        "from farlayer.protos.errors import NetError\n"
        "assert 'Twice' in known_types()\n"
        "assert layer_class('Twice').__name__ == 'TwiceLayer'\n"
        "assert layer_class('Twice').type_name == 'Twice'\n"
        "for name in ('Number', 'Missing'):\n"
        "    try:\n"
        "        layer_class(name, layer='l')\n"
        "    except NetError as error:\n"
        "        print(error.layer, error.message)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", script]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert finished.returncode == 0, finished.stderr
    number, missing = finished.stdout.splitlines()
    assert number.startswith("l layer 'l': type 'Number'")
    assert "no class derived from" in number
    assert "'no_such_module:Layer', which cannot be loaded" in missing
