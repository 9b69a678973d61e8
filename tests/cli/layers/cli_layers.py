"""Layers for the tests of the command line: those that behave, and one for each way not to."""

# ruff: noqa: ANN001, ANN201, T201
import os
import signal
import time

import caffe


class Ones(caffe.Layer):
    """One bottom of any shape; the top is one number, 1."""

    def setup(self, bottom, top):
        if len(bottom) != 1:
            raise ValueError(f"Ones needs 1 bottom, not {len(bottom)}")

    def reshape(self, bottom, top):
        top[0].reshape(1)

    def forward(self, bottom, top):
        top[0].data[...] = 1

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = 0


class Half(Ones):
    """Half the sum of squares of the bottom."""

    def forward(self, bottom, top):
        top[0].data[...] = (bottom[0].data ** 2).sum() / 2

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = bottom[0].data * top[0].diff[0]


class WhereAmI(Half):
    """As Half; also tells its process."""

    def setup(self, bottom, top):
        print(f"pid {os.getpid()} of parent {os.getppid()} in {os.getcwd()}", flush=True)


class NoLayer:
    """Not derived from caffe.Layer."""


class ForgetsReshape(Ones):
    def reshape(self, bottom, top):
        pass


class ReplacesItsTop(Ones):
    def forward(self, bottom, top):
        top[0] = bottom[0].data.sum()


class RaisesInSetup(Ones):
    def setup(self, bottom, top):
        raise RuntimeError("setup said no")


class RaisesInReshape(Ones):
    def reshape(self, bottom, top):
        raise IndexError("reshape said no")


class RaisesInForward(Ones):
    def forward(self, bottom, top):
        self.deeper({})

    def deeper(self, table):
        return table["forward said no"]


class RaisesInBackward(Ones):
    def backward(self, top, propagate_down, bottom):
        raise ZeroDivisionError("backward said no")


class KillsItself(Ones):
    def forward(self, bottom, top):
        print("my last words", flush=True)
        print(f"killed at {time.time()}", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


class RaisesAfterThree(Half):
    calls = 0

    def forward(self, bottom, top):
        self.calls += 1
        if self.calls > 3:
            self.fail()
        super().forward(bottom, top)

    def fail(self):
        raise RuntimeError("enough")


class KillsItselfAfterThree(RaisesAfterThree):
    def fail(self):
        os.kill(os.getpid(), signal.SIGKILL)


class Batches(caffe.Layer):
    """The top is the numbers from 0, one more in each forward after the first."""

    size = 1

    def setup(self, bottom, top):
        self.calls = 0

    def reshape(self, bottom, top):
        top[0].reshape(max(self.calls, 1))

    def forward(self, bottom, top):
        self.calls += 1
        top[0].data[...] = range(top[0].count)

    def backward(self, top, propagate_down, bottom):
        pass


class Hangs(Ones):
    def forward(self, bottom, top):
        print("now I hang", flush=True)
        time.sleep(600)


class HangsInSetup(Ones):
    def setup(self, bottom, top):
        print("now I hang", flush=True)
        time.sleep(600)


class SlowSetup(Half):
    def setup(self, bottom, top):
        print("in setup", flush=True)
        time.sleep(0.5)


class HangsInTest(Ones):
    def forward(self, bottom, top):
        top[0].data[...] = 1
        if self.phase == caffe.TEST:
            print("now I hang", flush=True)
            time.sleep(600)


class Slow(Half):
    def forward(self, bottom, top):
        time.sleep(0.02)
        super().forward(bottom, top)


class NaNAfterThree(Half):
    calls = 0

    def forward(self, bottom, top):
        super().forward(bottom, top)
        self.calls += 1
        if self.calls > 3:
            top[0].data[...] = float("nan")
