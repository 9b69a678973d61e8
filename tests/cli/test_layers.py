"""farlayer layers as its users run it."""

import re
from pathlib import Path

import pytest

from farlayer.engine.registry import known_types, layer_class
from tests.cli.command import farlayer

MANUAL = Path(__file__).parents[2] / "docs" / "nets.md"
TYPES = """
AbsVal Accuracy ArgMax BNLL BatchNorm BatchReindex Bias Clip Concat ContrastiveLoss Convolution Crop Data Deconvolution
Dropout DummyData ELU Eltwise Embed EuclideanLoss Exp Filter Flatten HDF5Data HDF5Output HingeLoss Im2col ImageData
InfogainLoss InnerProduct Input LRN LSTM LSTMUnit Log MVN MemoryData MultinomialLogisticLoss PReLU Parameter Pooling
Power Python RNN ReLU Reduction Reshape SPP Scale Sigmoid SigmoidCrossEntropyLoss Silence Slice Softmax SoftmaxWithLoss
Split Swish TanH Threshold Tile WindowData
"""
CAFFE = TYPES.split()


def built_in() -> list[str]:
    """The types that farlayer has: other tests add some of their own to this process."""
    return [name for name in known_types() if layer_class(name).__module__.startswith("farlayer.")]


def test_every_type_is_listed_with_a_line_about_it(tmp_path: Path) -> None:
    result = farlayer("layers", cwd=tmp_path)
    assert result.code == 0, result
    listed = dict(line.split(maxsplit=1) for line in result.out.splitlines())
    assert sorted(listed) == built_in()
    assert listed["TanH"] == "hyperbolic tangent."
    assert all(listed.values())


def test_one_type_is_described(tmp_path: Path) -> None:
    result = farlayer("layers", "LRN", cwd=tmp_path)
    assert result.code == 0, result
    assert re.search(r"^bottom\[0\]: ", result.out, re.MULTILINE), result
    assert "Source: Caffe, src/caffe/layers/lrn_layer.cpp" in result.out


def test_an_unknown_type_is_refused(tmp_path: Path) -> None:
    result = farlayer("layers", "Poling", cwd=tmp_path)
    assert result.code == 2, result
    assert "did you mean 'Pooling'?" in result.err


def test_all_types_of_caffe_are_known() -> None:
    assert len(CAFFE) == 61
    assert set(CAFFE) <= set(built_in())


@pytest.mark.parametrize("of_caffe", [True, False])
def test_the_manual_lists_the_types_and_marks_those_of_forks(of_caffe: bool) -> None:
    rows = re.findall(r"^\| \w+ \| ([A-Z].*) \|$", MANUAL.read_text(encoding="utf-8"), re.MULTILINE)
    names = [name for row in rows for name in row.split(", ")]
    assert len(names) == len(set(names))
    listed = {name.removesuffix(r"\*") for name in names if name.endswith("*") is not of_caffe}
    assert listed == {name for name in built_in() if (name in CAFFE) is of_caffe}
