"""Builds the wheel, installs it where the checkout is out of sight, and trains a small net with it.

    python tools/wheel_test.py

Everything happens in one temporary folder that is removed at the end: the build works on a copy of the sources, the
wheel goes into an environment made there, and the training runs there with a HOME of its own. The net has a Python
layer with a param, which runs in a worker process; the snapshot tells whether it learned.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE_FOLDERS = ("blobs", "cli", "client", "engine", "protos", "pycaffe", "server", "worker")
PACKAGED_SUFFIXES = {".py", ".pyi", ".proto", ".typed"}
BUILT_FROM = (*PACKAGE_FOLDERS, "pyproject.toml", "README.md", "LICENSE")
TRAIN_TIMEOUT_S = 120

LAYER = """
    import os

    import caffe
    import farlayer.blobs


    class ScaleLayer(caffe.Layer):
        def setup(self, bottom, top):
            self.blobs.add_blob(1)
            self.blobs[0].data[...] = 1
            with open("where.txt", "w") as file:
                file.write(f"{os.getpid()} {os.getppid()} {farlayer.blobs.__file__}")

        def reshape(self, bottom, top):
            top[0].reshape(*bottom[0].shape)

        def forward(self, bottom, top):
            top[0].data[...] = bottom[0].data * self.blobs[0].data[0]

        def backward(self, top, propagate_down, bottom):
            self.blobs[0].diff[0] += (top[0].diff * bottom[0].data).sum()
            if propagate_down[0]:
                bottom[0].diff[...] = top[0].diff * self.blobs[0].data[0]
"""
# 2 * scale shall become 6: each step takes the scale two fifths of the way from where it is to 3.
NET = """
    name: "scale"
    layer {
      name: "data" type: "DummyData" top: "data" top: "target"
      dummy_data_param {
        shape { dim: 4 dim: 1 } shape { dim: 4 dim: 1 }
        data_filler { type: "constant" value: 2 } data_filler { type: "constant" value: 6 }
      }
    }
    layer {
      name: "scale" type: "Python" bottom: "data" top: "scaled"
      python_param { module: "scale_layer" layer: "ScaleLayer" }
    }
    layer { name: "loss" type: "EuclideanLoss" bottom: "scaled" bottom: "target" top: "loss" }
"""
SOLVER = """
    net: "net.prototxt"
    base_lr: 0.1
    lr_policy: "fixed"
    max_iter: 30
    display: 10
    snapshot_prefix: "scale"
"""
READ_SNAPSHOT = """
    from farlayer.protos import caffe_pb2

    net = caffe_pb2.NetParameter()
    with open("scale_iter_30.caffemodel", "rb") as file:
        net.ParseFromString(file.read())
    print(*(value for layer in net.layer for blob in layer.blobs for value in blob.data))
"""


class WheelTestError(Exception):
    """The wheel is not what it should be."""


def run(command: list[str], *, cwd: Path, env: dict[str, str] | None = None, timeout_s: float = 600) -> str:
    """Runs a command and returns what it printed.

    Raises:
        WheelTestError: it failed or did not end in time.
    """
    shown = " ".join("..." if "\n" in word else Path(word).name if os.sep in word else word for word in command)
    print(f"wheel-test: {shown}", flush=True)
    try:
        finished = subprocess.run(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        output = (error.stdout or b"").decode("utf-8", "replace")  # bytes here, also with text=True
        raise WheelTestError(f"{shown} did not end within {timeout_s} s:\n{output}") from error
    if finished.returncode != 0:
        raise WheelTestError(f"{shown} failed (exit code {finished.returncode}):\n{finished.stdout}")
    return finished.stdout


def copy_sources(target: Path) -> None:
    """Copies what the wheel is built from, so that the build leaves nothing in the checkout."""
    target.mkdir()
    for name in BUILT_FROM:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target / name)


def build_wheel(scratch: Path) -> Path:
    """Builds the source archive and, from that, the wheel.

    Raises:
        WheelTestError: the build fails.
    """
    copy_sources(scratch / "source")
    run([sys.executable, "-m", "build", "--outdir", str(scratch / "dist"), str(scratch / "source")], cwd=scratch)
    return next((scratch / "dist").glob("*.whl"))


def check_contents(wheel: Path) -> None:
    """Compares the files in the wheel with those in the checkout.

    Raises:
        WheelTestError: a file is missing or one too many.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    metadata = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    expected = {
        f"farlayer/{path.relative_to(ROOT).as_posix()}"
        for folder in PACKAGE_FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.suffix in PACKAGED_SUFFIXES or path.name == "py.typed"
    }
    packaged = names - metadata
    if packaged != expected:
        raise WheelTestError(
            f"the wheel lacks {sorted(expected - packaged)} and should not hold {sorted(packaged - expected)}; "
            "see packages and package-data in pyproject.toml"
        )
    if not any(name.endswith("/LICENSE") for name in metadata):
        raise WheelTestError("the wheel lacks the license")


def install(wheel: Path, scratch: Path) -> Path:
    """Installs the wheel with its dependencies into an environment of its own; returns its folder of executables."""
    environment = scratch / "environment"
    bootstrap = [sys.executable, str(ROOT / "tools" / "bootstrap_venv.py"), "--venv", str(environment)]
    run([*bootstrap, "--python", sys.executable, "--", str(wheel)], cwd=scratch)
    return environment / "bin"


def train(bin_folder: Path, scratch: Path) -> None:
    """Trains the small net with the installed package alone.

    Raises:
        WheelTestError: it fails, the layer ran elsewhere than it should, or nothing was learned.
    """
    folder, home, temporary = scratch / "training", scratch / "home", scratch / "tmp"
    for path in (folder, home, temporary):
        path.mkdir()
    for name, text in (("scale_layer.py", LAYER), ("net.prototxt", NET), ("solver.prototxt", SOLVER)):
        (folder / name).write_text(textwrap.dedent(text), encoding="utf-8")
    env = {"PATH": f"{bin_folder}:/usr/bin:/bin", "HOME": str(home), "TMPDIR": str(temporary), "LANG": "C.UTF-8"}
    farlayer = str(bin_folder / "farlayer")
    run([farlayer, "--help"], cwd=folder, env=env)
    output = run([farlayer, "train", "--solver", "solver.prototxt"], cwd=folder, env=env, timeout_s=TRAIN_TIMEOUT_S)

    pid, _, blobs_file = (folder / "where.txt").read_text(encoding="utf-8").split(" ", 2)
    if not Path(blobs_file).is_relative_to(bin_folder.parent):
        raise WheelTestError(f"the layer imported {blobs_file}, not the installed package")
    if Path(f"/proc/{pid}").exists():
        raise WheelTestError(f"the worker (process {pid}) is still there")
    reader = [str(bin_folder / "python"), "-c", textwrap.dedent(READ_SNAPSHOT)]
    scale = [float(word) for word in run(reader, cwd=folder, env=env).split()]
    if len(scale) != 1 or abs(scale[0] - 3) > 1e-4:
        raise WheelTestError(f"the layer's param is {scale} after training, expected [3.0]; output:\n{output}")
    left = [path.name for path in temporary.iterdir()]
    if left:
        raise WheelTestError(f"the training left {left} in the folder for temporary files")


def main() -> int:
    """Runs the whole test and reports."""
    try:
        with tempfile.TemporaryDirectory(prefix="farlayer-wheel-test-") as folder:
            scratch = Path(folder)
            wheel = build_wheel(scratch)
            check_contents(wheel)
            train(install(wheel, scratch), scratch)
    except WheelTestError as error:
        print(f"wheel-test: error: {error}", file=sys.stderr)
        return 1
    print(f"wheel-test: {wheel.name} installs and trains without the checkout")
    return 0


if __name__ == "__main__":
    sys.exit(main())
