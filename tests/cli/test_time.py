"""farlayer time as its users run it."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.command import LAYERS, Result, environment, farlayer
from tests.cli.nets import write_net

NoLeaks = Callable[[], list[str]]
NAMES = ["input", "ip", "mine"]
DEPLOYED = """
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 8 dim: 64 } } }
layer { name: "learns" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 64 } }
layer { name: "does not" type: "ReLU" bottom: "y" top: "y" }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Holds a net with a loss in Python."""
    write_net(tmp_path, "Half")
    return tmp_path


def time_net(folder: Path, *arguments: str) -> Result:
    return farlayer("time", "-model", "net.prototxt", "--python-path", LAYERS, *arguments, cwd=folder)


def test_every_layer_and_both_passes_are_told(folder: Path, leak_check: NoLeaks) -> None:
    result = time_net(folder, "-iterations=3")
    assert result.code == 0, result
    rows = re.findall(r"^(\S+) +(\S+) +([\d.]+) +([\d.]+) +([\d.]+)%$", result.out, re.MULTILINE)
    assert [row[:2] for row in rows] == list(zip(NAMES, ["DummyData", "InnerProduct", "Python"], strict=True))
    assert sum(float(row[4]) for row in rows) == pytest.approx(100, abs=0.3)
    totals = dict(re.findall(r"^(Forward|Backward|Both|Total) +([\d.]+) ms", result.out, re.MULTILINE))
    forward, backward, both, total = (float(totals[name]) for name in ("Forward", "Backward", "Both", "Total"))
    assert both == pytest.approx(forward + backward, abs=0.002)
    assert total == pytest.approx(3 * both, abs=0.1)
    assert re.search(r"^Timed +3 iterations$", result.out, re.MULTILINE)
    assert leak_check() == []


def test_json_has_the_same_as_numbers(folder: Path) -> None:
    result = time_net(folder, "--json", "--iterations", "4", "--phase", "test", "--in-process")
    assert result.code == 0, result
    told = json.loads(result.out)
    assert (told["net"], told["phase"], told["iterations"]) == ("small", "TEST", 4)
    assert [layer["name"] for layer in told["layers"]] == NAMES
    for passes in ("forward_ms", "backward_ms"):
        whole = told[passes]["mean"]
        assert 0 < sum(layer[passes]["mean"] for layer in told["layers"]) <= whole * 1.001
        assert told[passes]["median"] > 0


def test_in_a_net_without_a_loss_what_learns_runs_backward(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(DEPLOYED, encoding="utf-8")
    result = time_net(tmp_path, "--json", "--iterations", "20")
    assert result.code == 0, result
    backward = {layer["name"]: layer["backward_ms"]["median"] for layer in json.loads(result.out)["layers"]}
    assert backward["learns"] > 5 * backward["does not"]


def test_weights_stages_and_levels_count(folder: Path) -> None:
    trained = farlayer("train", "--solver", "solver.prototxt", "--in-process", "--python-path", LAYERS, cwd=folder)
    assert trained.code == 0, trained
    net = folder / "net.prototxt"
    extra = 'layer { name: "%s" type: "TanH" bottom: "y" top: "%s" include { %s } }'
    layers = extra % ("staged", "y1", 'stage: "s"') + extra % ("levelled", "y2", "min_level: 2")
    net.write_text(net.read_text(encoding="utf-8") + layers, encoding="utf-8")
    weights = ("--weights", "out/small_iter_6.caffemodel", "--json", "--iterations", "1", "--in-process")
    told = {}
    for flags in ((), ("--stage", "s"), ("--level", "2")):
        result = time_net(folder, *weights, *flags)
        assert result.code == 0, result
        told[flags] = [layer["name"] for layer in json.loads(result.out)["layers"]]
    assert "staged" in told["--stage", "s"]
    assert "staged" not in told["--level", "2"]
    assert "levelled" in told["--level", "2"]
    assert not {"staged", "levelled"} & set(told[()])


def test_an_error_in_a_layer_says_when(folder: Path, leak_check: NoLeaks) -> None:
    write_net(folder, "RaisesAfterThree")
    result = time_net(folder, "--iterations", "5", "--in-process")
    assert result.code == 1, result
    assert "after 2 of 5 iterations" in result.err, result
    assert leak_check() == []


def test_kernels_may_be_chosen(folder: Path) -> None:
    result = time_net(folder, "--iterations", "1", "--in-process", "--kernels", "numpy")
    assert result.code == 0, result
    result = time_net(folder, "--kernels", "none")
    assert result.code == 2, result
    assert "'none' is not one of 'auto', 'numpy', 'torch'" in result.err, result


def test_wrong_input_ends_with_exit_code_2(folder: Path) -> None:
    for arguments, text in (
        (("time",), "Missing option '--model'"),
        (("time", "--model", "no.prototxt"), "'no.prototxt' does not exist"),
        (("time", "--model", "net.prototxt", "--weights", "w"), "--weights: 'w' does not exist"),
        (("time", "--model", "net.prototxt", "--iterations", "0"), "--iterations"),
    ):
        result = farlayer(*arguments, cwd=folder, env=environment())
        assert result.code == 2, result
        assert text in result.err, result


def test_kernels_that_are_not_installed_are_refused(folder: Path) -> None:
    (folder / "torch.py").write_text("raise ImportError('hidden by the test')\n", encoding="utf-8")
    arguments = ("time", "-model", "net.prototxt", "--in-process", "--python-path", LAYERS, "--kernels=torch")
    forced = farlayer(*arguments, cwd=folder, env=environment(PYTHONPATH=str(folder)))
    assert forced.code == 2, forced
    assert "torch kernels need PyTorch" in forced.err
