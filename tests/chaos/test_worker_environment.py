"""What a worker process is made of, and where what a layer prints goes."""

import os
import subprocess
import sys
from pathlib import Path

from farlayer.client import static_pool
from tests.remote_support import LAYERS, wait_for
from tests.server.server_support import ServerProcess


def test_a_worker_loads_numpy_and_protobuf_and_nothing_else_from_outside() -> None:
    with ServerProcess() as server, static_pool([server.address]) as pool:
        layer = pool.layer("chaos_layers", "LooksAround")
        layer.forward([1])
        modules = layer.invoke("modules")
    assert isinstance(modules, list)
    known = {"numpy", "google.protobuf", "google._upb", "chaos_layers", "caffe"}
    known |= {"farlayer.blobs", "farlayer.protos", "farlayer.pycaffe", "farlayer.worker"}
    # An editable install puts a finder of its own into every interpreter.
    outside = {name for name in modules if name not in known and not name.startswith("__editable__")}
    assert {"farlayer.worker", "numpy"} <= set(modules)
    assert outside - {"__main__", "__mp_main__", "sitecustomize", "_virtualenv", "_distutils_hack"} == set()


def test_a_worker_has_no_thread_of_ours() -> None:
    with ServerProcess() as server, static_pool([server.address]) as pool:
        layer = pool.layer("chaos_layers", "Plain")
        layer.forward([1])
        layer.forward([1])
        pid = layer.report().pid
        names = {Path(f"/proc/{pid}/task/{task}/comm").read_text().strip() for task in os.listdir(f"/proc/{pid}/task")}
        threads = len(os.listdir(f"/proc/{pid}/task"))
    numpy_alone = subprocess.run(
        [sys.executable, "-c", "import numpy, os; print(len(os.listdir('/proc/self/task')))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert threads == int(numpy_alone.stdout), names


def test_what_a_layer_prints_reaches_the_servers_stderr_with_the_layers_name() -> None:
    with ServerProcess() as server, static_pool([server.address]) as pool:
        layer = pool.layer("chaos_layers", "LooksAround", name="conv1")
        layer.forward([1])
        layer.invoke("say", "batch 1 of ümlaut")
        assert wait_for(lambda: server.log().count("[conv1] batch 1 of ümlaut\n") == 2), server.log()


def test_the_folders_of_python_path_come_first_in_the_worker(tmp_path: Path) -> None:
    (tmp_path / "chaos_layers.py").write_text(
        "import caffe\n\n\nclass Plain(caffe.Layer):\n    def setup(self, bottom, top):\n        pass\n"
        "    def reshape(self, bottom, top):\n        top[0].reshape()\n"
        "    def forward(self, bottom, top):\n        top[0].data[...] = 42\n"
    )
    with (
        ServerProcess(python_path=(str(tmp_path), str(LAYERS))) as server,
        static_pool([server.address]) as pool,
    ):
        assert pool.layer("chaos_layers", "Plain").forward()[0] == 42
        assert pool.layer("contract_layers", "Double").forward([1])[0] == 2
