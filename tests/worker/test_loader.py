"""The class of a layer is found, or the error says where it was looked for and what would help."""

import sys
from pathlib import Path

import pytest

from farlayer.protos.errors import LayerLoadError
from farlayer.worker.layer import Layer
from farlayer.worker.loader import load_class


def write(folder: Path, name: str, text: str) -> None:
    path = folder / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_a_class_is_found_in_a_module_and_in_a_package(layer_dir: Path) -> None:
    write(layer_dir, "flat", "import caffe\nclass Own(caffe.Layer): pass\n")
    write(layer_dir, "deep/inner", "from caffe import Layer\nclass Outer:\n    class Own(Layer): pass\n")
    assert issubclass(load_class("flat", "Own", layer="l"), Layer)
    assert load_class("deep.inner", "Outer.Own", layer="l").__qualname__ == "Outer.Own"
    for name in ("deep.inner", "deep"):
        del sys.modules[name]


def test_a_module_that_was_written_after_the_start_is_found(layer_dir: Path) -> None:
    with pytest.raises(LayerLoadError):
        load_class("late", "Own", layer="l")
    write(layer_dir, "late", "import caffe\nclass Own(caffe.Layer): pass\n")
    assert load_class("late", "Own", layer="l").__name__ == "Own"


def test_a_missing_module_is_told_with_every_folder_that_was_searched(layer_dir: Path) -> None:
    with pytest.raises(LayerLoadError) as caught:
        load_class("no_such_module", "Own", layer="conv1")
    text = str(caught.value)
    for part in ["layer 'conv1'", "'no_such_module'", str(layer_dir), sys.version.split()[0], "PYTHONPATH"]:
        assert part in text
    assert text.count(str(layer_dir)) == 1


def test_a_missing_submodule_is_not_mistaken_for_a_missing_dependency(layer_dir: Path) -> None:
    write(layer_dir, "pack/__init__", "")
    with pytest.raises(LayerLoadError, match=r"no module named 'pack\.absent'"):
        load_class("pack.absent", "Own", layer="l")


def test_a_missing_dependency_is_told_with_the_interpreter_that_lacks_it(layer_dir: Path) -> None:
    write(layer_dir, "needy", "import absent_package.part\n")
    with pytest.raises(LayerLoadError, match="'needy' needs a module 'absent_package'") as caught:
        load_class("needy", "Own", layer="l")
    assert f"{sys.executable} -m pip install absent_package" in caught.value.remedy


def test_errors_of_the_modules_own_code_pass(layer_dir: Path) -> None:
    write(layer_dir, "failing", "raise KeyError('mine')\n")
    with pytest.raises(KeyError, match="mine"):
        load_class("failing", "Own", layer="l")
    write(layer_dir, "unreadable", "def broken(:\n")
    with pytest.raises(SyntaxError):
        load_class("unreadable", "Own", layer="l")


def test_a_class_that_is_missing_is_told_with_those_that_there_are(layer_dir: Path) -> None:
    write(layer_dir, "several", "import caffe\nclass LossLayer(caffe.Layer): pass\nclass Data(caffe.Layer): pass\n")
    with pytest.raises(LayerLoadError, match="its layers: LossLayer, Data") as caught:
        load_class("several", "LosLayer", layer="l")
    assert caught.value.remedy == "did you mean 'LossLayer'?"
    assert str(layer_dir / "several.py") in caught.value.message


@pytest.mark.parametrize(
    ("definition", "kind"),
    [("class Own: pass", "a class with the bases object"), ("Own = 3", "a int"), ("def Own(): pass", "a function")],
)
def test_what_is_no_layer_is_told_with_what_it_is(layer_dir: Path, definition: str, kind: str) -> None:
    write(layer_dir, "other", definition)
    with pytest.raises(LayerLoadError, match=f"is {kind}, expected a class derived from caffe.Layer") as caught:
        load_class("other", "Own", layer="l")
    assert "class Own(caffe.Layer):" in caught.value.remedy
