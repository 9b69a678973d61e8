"""farlayer test as its users run it."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from farlayer.engine.weights import save_weights
from tests.cli.command import LAYERS, farlayer
from tests.cli.nets import stored_net, write_net
from tests.engine.support import native_net

NoLeaks = Callable[[], list[str]]


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A folder with a net on constant input and weights for it."""
    write_net(tmp_path, "Half", solver="max_iter: 1")
    net = tmp_path / "net.prototxt"
    net.write_text(net.read_text(encoding="utf-8").replace('"gaussian" std: 1', '"constant" value: 1'), "utf-8")
    result = farlayer("train", "--solver", "solver.prototxt", "--in-process", "--python-path", LAYERS, cwd=tmp_path)
    assert result.code == 0, result
    return tmp_path


def test_scores_are_those_of_the_weights(trained: Path, leak_check: NoLeaks) -> None:
    arguments = ("-model", "net.prototxt", "-weights=out/small_iter_1.caffemodel", "-iterations", "3")
    result = farlayer("test", *arguments, "--python-path", LAYERS, cwd=trained)
    assert result.code == 0, result
    weights, bias = stored_net(trained / "out/small_iter_1.caffemodel").layer[1].blobs
    y = np.array(weights.data).reshape(2, 3).sum(axis=1) + np.array(bias.data)
    expected = 4 * (y**2).sum() / 2  # of 4 equal rows
    found = re.search(r"^Output +loss = (\S+) \(\* 1 in the loss\)$", result.out, re.MULTILINE)
    assert found is not None, result
    assert float(found[1]) == pytest.approx(expected, rel=1e-4)
    assert re.search(r"^Tested +3 batches$", result.out, re.MULTILINE)
    assert "cli_layers.Half" in result.out
    assert leak_check() == []


LEVELS = """
layer { name: "input" type: "DummyData" top: "x" dummy_data_param { shape { dim: 4 dim: 3 } data_filler { value: 1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 2 } }
layer { name: "t" type: "TanH" bottom: "y" top: "t" include { phase: TEST min_level: 2 stage: "deep" } }
layer { name: "d" type: "TanH" bottom: "x" top: "d" include { phase: TRAIN } }
"""


@pytest.mark.parametrize(
    ("options", "outputs"),
    [
        (("--level", "2", "--stage", "deep,other"), ["t"]),
        (("-level=2",), ["y"]),
        (("-stage=deep", "-level", "1"), ["y"]),
        (("-phase", "TRAIN"), ["d", "y"]),
    ],
)
def test_weights_may_be_hdf5_and_rules_count(tmp_path: Path, options: tuple[str, ...], outputs: list[str]) -> None:
    (tmp_path / "net.prototxt").write_text(LEVELS, encoding="utf-8")
    net = native_net(LEVELS)
    net.layer("ip").params[0].data[...] = 0.25
    save_weights(net, tmp_path / "w.caffemodel.h5", hdf5=True)
    arguments = ("test", "-model=net.prototxt", "-weights=w.caffemodel.h5", "-iterations=2", "--in-process", *options)
    result = farlayer(*arguments, cwd=tmp_path)
    assert result.code == 0, result
    assert re.findall(r"^Output +(\w+) = ", result.out, re.MULTILINE) == outputs, result
    if "y" in outputs:
        assert "y = 0.75 0.75" in result.out, result


def test_an_output_whose_length_changes_is_told(trained: Path, leak_check: NoLeaks) -> None:
    net = trained / "net.prototxt"
    layer = 'layer { name: "grows" type: "Python" top: "grown" python_param { module: "cli_layers" layer: "Batches" } }'
    net.write_text(net.read_text(encoding="utf-8") + layer, encoding="utf-8")
    arguments = ("test", "--model", "net.prototxt", "--weights", "out/small_iter_1.caffemodel", "--iterations", "4")
    result = farlayer(*arguments, "--in-process", "--python-path", LAYERS, cwd=trained)
    assert result.code == 2, result
    assert re.search(r"output 'grown' .*expected 1 values, .*got 2 in pass 3", result.err), result
    assert "after 2 of 4 batches" in result.err, result
    assert "remedy: give 'grown' the same shape in every pass" in result.err, result
    assert leak_check() == []


def test_missing_weights_and_model_end_with_exit_code_2(trained: Path) -> None:
    for arguments, text in (
        (("--model", "net.prototxt"), "Missing option '--weights'"),
        (("--weights", "out/small_iter_1.caffemodel"), "Missing option '--model'"),
        (("--model", "net.prototxt", "--weights", "w"), "--weights: 'w' does not exist"),
        (("--model", "no.prototxt", "--weights", "out/small_iter_1.caffemodel"), "'no.prototxt' does not exist"),
    ):
        result = farlayer("test", *arguments, cwd=trained)
        assert result.code == 2, result
        assert text in result.err, result


def test_damaged_weights_end_with_exit_code_2(trained: Path, leak_check: NoLeaks) -> None:
    path = trained / "out/small_iter_1.caffemodel"
    path.write_bytes(path.read_bytes()[:-10])
    arguments = ("--model", "net.prototxt", "--weights", path, "--in-process", "--python-path", LAYERS)
    result = farlayer("test", *arguments, cwd=trained)
    assert result.code == 2, result
    assert "truncated" in result.err, result
    assert leak_check() == []
