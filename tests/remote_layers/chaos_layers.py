"""User layers that behave badly, or look at the process they are in."""
# ruff: noqa: ANN001, ANN201

import atexit
import ctypes
import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import caffe


class SameShape(caffe.Layer):
    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = 2 * bottom[0].data


class Plain(SameShape):
    pass


class WaitsAtGate(SameShape):
    """Tells that forward runs, and waits there. Counts its forwards. param_str: path of the gate."""

    def setup(self, bottom, top):
        self.forwards = 0

    def forward(self, bottom, top):
        self.forwards += 1
        print("the layer goes to its gate")
        Path(f"{self.param_str}.started").write_text(str(os.getpid()))
        Path(f"{self.param_str}.go").read_text()
        top[0].data[...] = 2 * bottom[0].data


class WaitsInSetup(WaitsAtGate):
    def setup(self, bottom, top):
        Path(f"{self.param_str}.started").write_text(str(os.getpid()))
        Path(f"{self.param_str}.go").read_text()


class Counts(SameShape):
    def setup(self, bottom, top):
        self.forwards = 0

    def forward(self, bottom, top):
        self.forwards += 1
        top[0].data[...] = self.forwards


class Ends(SameShape):
    """Ends its process as param_str says, in forward."""

    def forward(self, bottom, top):
        print("the layer's last words")
        if self.param_str == "segfault":
            ctypes.string_at(0)
        elif self.param_str == "exit":
            os._exit(3)
        else:
            os.kill(os.getpid(), int(self.param_str))


class Hangs(SameShape):
    """Sleeps in forward, in a function that the stacks must show; deaf to SIGTERM and SIGINT."""

    def forward(self, bottom, top):
        self.sleep_for_ever()

    def sleep_for_ever(self):
        while True:
            time.sleep(60)


class StartsChildren(WaitsAtGate):
    """Has a child process of its own, and one that the child started, whose pids it tells at its gate."""

    def forward(self, bottom, top):
        child = subprocess.Popen(
            ["sh", "-c", "sleep 300 & echo $!; wait"],
            stdout=subprocess.PIPE,
            text=True,
        )
        pids = [os.getpid(), child.pid, int(child.stdout.readline())]
        Path(f"{self.param_str}.started").write_text(json.dumps(pids))
        Path(f"{self.param_str}.go").read_text()


def square(value):
    return value * value


class UsesPool(SameShape):
    """Forks a pool of processes in setup and computes in it."""

    def setup(self, bottom, top):
        self.pool = multiprocessing.get_context("fork").Pool(2)
        self.pids = [process.pid for process in self.pool._pool]

    def forward(self, bottom, top):
        top[0].data[...] = self.pool.map(square, [float(value) for value in bottom[0].data])


class UsesSpawnedPool(SameShape):
    """As UsesPool, with processes that start anew and import this module by themselves."""

    def setup(self, bottom, top):
        self.pool = multiprocessing.get_context("spawn").Pool(1)

    def forward(self, bottom, top):
        top[0].data[...] = self.pool.map(square, [float(value) for value in bottom[0].data])


class ForksAChildThatStays(WaitsAtGate):
    """Has a child in a session of its own, which holds all descriptors of the worker open."""

    def forward(self, bottom, top):
        child = os.fork()
        if child == 0:
            os.setsid()
            time.sleep(300)
            os._exit(0)
        Path(f"{self.param_str}.started").write_text(json.dumps([os.getpid(), child]))
        Path(f"{self.param_str}.go").read_text()


class WritesAtExit(SameShape):
    def setup(self, bottom, top):
        atexit.register(Path(self.param_str).write_text, "the exit handler ran")


class LooksAround(SameShape):
    def modules(self):
        """Names of the top-level packages that are loaded from outside the standard library."""
        outside = set()
        for name, module in list(sys.modules.items()):
            root = name.partition(".")[0]
            file = getattr(module, "__file__", None)
            if root not in sys.stdlib_module_names and root not in sys.builtin_module_names and file:
                outside.add(root if root not in {"farlayer", "google"} else ".".join(name.split(".")[:2]))
        return sorted(outside)

    def say(self, text):
        print(text)
        print(text, file=sys.stderr)
