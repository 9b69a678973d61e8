"""`import caffe` gives farlayer's own modules, and leaves everything else to the usual finders."""

import importlib
import subprocess
import sys
from pathlib import Path

from farlayer.worker import caffe_alias


def test_the_alias_gives_the_same_modules_not_copies() -> None:
    caffe_alias.install()
    caffe = importlib.import_module("caffe")
    assert caffe is importlib.import_module("farlayer.pycaffe")
    assert importlib.import_module("caffe.proto") is importlib.import_module("farlayer.pycaffe.proto")
    assert importlib.import_module("caffe.proto.caffe_pb2") is importlib.import_module(
        "farlayer.pycaffe.proto.caffe_pb2"
    )
    assert caffe.__spec__ is not None
    assert caffe.__spec__.name == "farlayer.pycaffe"
    assert importlib.reload(caffe) is caffe


def test_installing_twice_installs_once() -> None:
    for _ in range(2):
        caffe_alias.install()
    assert sum(isinstance(finder, caffe_alias.CaffeAliasFinder) for finder in sys.meta_path) == 1


def test_other_names_are_not_ours() -> None:
    finder = caffe_alias.CaffeAliasFinder()
    for name in ("numpy", "caffeine", "caffe2.python", "caffe.no_such_module"):
        assert finder.find_spec(name, None) is None


def test_the_alias_wins_over_a_caffe_that_is_installed(tmp_path: Path) -> None:
    (tmp_path / "caffe.py").write_text("raise ImportError('the other one')\n")
    script = (
        "from farlayer.worker import caffe_alias; caffe_alias.install()\n"
        "import caffe, caffe.proto.caffe_pb2\n"
        "print(caffe.__name__, issubclass(caffe.Layer, object))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert finished.stdout == "farlayer.pycaffe True\n"


def test_net_spec_is_imported_as_in_caffe() -> None:
    script = (
        "from farlayer.worker import caffe_alias; caffe_alias.install()\n"
        "import caffe\n"
        "from caffe import layers as L, params as P, to_proto\n"
        "from caffe.net_spec import Top\n"
        "n = caffe.NetSpec()\n"
        "n.y = L.Pooling(L.Input(), pool=P.Pooling.AVE)\n"
        "assert isinstance(n.y, Top) and len(to_proto(n.y).layer) == 2\n"
        "print(n.to_proto().layer[1].pooling_param.pool)"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert finished.stdout == "1\n"
