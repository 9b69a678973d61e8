"""User layers whose behaviour must not depend on where they run. Written as a Caffe user writes them."""
# ruff: noqa: ANN001, ANN201, ANN204

import builtins
import json
import os
import sys

import caffe
import numpy as np


class SameShape(caffe.Layer):
    """Gives each top the shape of the first bottom."""

    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        for blob in top:
            blob.reshape(*bottom[0].shape)


class Double(SameShape):
    def forward(self, bottom, top):
        top[0].data[...] = 2 * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            bottom[0].diff[...] = 2 * top[0].diff


class Add(SameShape):
    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data + bottom[1].data

    def backward(self, top, propagate_down, bottom):
        for blob, wanted in zip(bottom, propagate_down):
            if wanted:
                blob.diff[...] = top[0].diff


class WritesItsBottom(SameShape):
    """Changes what it should only read: Caffe lets it."""

    def forward(self, bottom, top):
        bottom[0].data[...] += 1
        bottom[0].diff[...] = 7
        top[0].data[...] = bottom[0].data

    def backward(self, top, propagate_down, bottom):
        top[0].diff[...] *= 3
        bottom[0].diff[...] += top[0].diff


class Accumulates(SameShape):
    """Builds on what its top held after the last call."""

    def forward(self, bottom, top):
        top[0].data[...] += bottom[0].data
        top[0].diff[...] -= 1


class CountsInParams(SameShape):
    """Writes its params in forward (data) and adds to their diff in backward."""

    def setup(self, bottom, top):
        self.blobs.add_blob(2, 2)
        self.blobs[0].data[...] = 10

    def forward(self, bottom, top):
        self.blobs[0].data[...] += 1
        top[0].data[...] = bottom[0].data * self.blobs[0].data[0, 0]

    def backward(self, top, propagate_down, bottom):
        self.blobs[0].diff[...] += top[0].diff.sum()


class Rows(caffe.Layer):
    """Gives its top as many rows as its bottom says, inside forward, as proposal layers do."""

    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape(1, 2)

    def forward(self, bottom, top):
        rows = int(bottom[0].data.flat[0])
        top[0].reshape(rows, 2)
        top[0].data[...] = np.arange(rows * 2).reshape(rows, 2)


class ManyParams(SameShape):
    """Adds as many params as param_str says, and fills each."""

    def setup(self, bottom, top):
        for number in range(int(self.param_str)):
            self.blobs.add_blob(2)
            self.blobs[number].data[...] = number

    def forward(self, bottom, top):
        top[0].data[...] = sum(blob.data[0] for blob in self.blobs)


class KeepsRows(Rows):
    """As Rows, but looks at what its memory held, and writes nothing."""

    def reshape(self, bottom, top):
        pass

    def forward(self, bottom, top):
        top[0].reshape(int(bottom[0].data.flat[0]), 2)


class Total(caffe.Layer):
    """A scalar: its top has no axes."""

    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape()

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data.sum()

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = top[0].diff


class Sink(caffe.Layer):
    """No tops."""

    def setup(self, bottom, top):
        self.seen = []

    def reshape(self, bottom, top):
        pass

    def forward(self, bottom, top):
        self.seen.append(float(bottom[0].data.sum()))

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = len(self.seen)


class Source(caffe.Layer):
    """No bottoms: a data layer."""

    def setup(self, bottom, top):
        self.batch = 0

    def reshape(self, bottom, top):
        top[0].reshape(2, 3)
        top[1].reshape(2)

    def forward(self, bottom, top):
        self.batch += 1
        top[0].data[...] = self.batch
        top[1].data[...] = -self.batch

    def backward(self, top, propagate_down, bottom):
        pass


class InPlace(caffe.Layer):
    def setup(self, bottom, top):
        self.same = bottom[0] is top[0]

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data * 2 + 1

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = top[0].diff * 2


class ChangesFirst(SameShape):
    """Changes its first bottom and copies its second: they may lie in the same memory."""

    def forward(self, bottom, top):
        bottom[0].data[...] += 100
        top[0].data[...] = bottom[1].data.reshape(top[0].shape)


class LateParams(SameShape):
    """Adds a param in setup, one in the second reshape, and one in the third forward."""

    def setup(self, bottom, top):
        self.reshapes = 0
        self.forwards = 0
        self.blobs.add_blob(1)

    def reshape(self, bottom, top):
        SameShape.reshape(self, bottom, top)
        self.reshapes += 1
        if self.reshapes == 2:
            self.blobs.add_blob(2).data[...] = 2

    def forward(self, bottom, top):
        self.forwards += 1
        if self.forwards == 3:
            self.blobs.add_blob().data[...] = 3
        top[0].data[...] = len(self.blobs)


class KeepsReferences(caffe.Layer):
    """Holds on to blob objects between calls, as pycaffe users do."""

    def setup(self, bottom, top):
        self.bottom = bottom[0]
        self.top = top[0]

    def reshape(self, bottom, top):
        self.top.reshape(*self.bottom.shape)

    def forward(self, bottom, top):
        if bottom[0] is not self.bottom or top[0] is not self.top:
            raise AssertionError("the blobs are other objects than in setup")
        self.top.data[...] = self.bottom.data

    def backward(self, top, propagate_down, bottom):
        if bottom[0] is not self.bottom or top[0] is not self.top:
            raise AssertionError("the blobs are other objects than in setup")
        self.bottom.diff[...] = self.top.diff


class OwnAttributes(SameShape):
    def setup(self, bottom, top):
        self.total = 0.0
        self.config = type("Config", (), {"rate": 0.5})()

    def forward(self, bottom, top):
        self.total += float(bottom[0].data.sum())
        top[0].data[...] = self.total

    def describe(self, prefix, *, suffix="!"):
        return {"text": f"{prefix}{self.total}{suffix}", "param_str": self.param_str, "phase": int(self.phase)}

    def twice(self, value):
        return [value, value]

    def stop(self):
        raise KeyError("told to", 2)

    def give_an_object(self):
        return object()


class NoBackward(SameShape):
    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data


class OurError(Exception):
    """Of the user's own module."""

    def __init__(self, first, second):
        super().__init__(first, second)


class Raises(SameShape):
    """Raises where and what its param_str says, the first time."""

    def __init__(self, layer_param):
        super().__init__(layer_param)
        self.raised = False
        self.plan = json.loads(layer_param.python_param.param_str)
        self.obey("__init__")

    def obey(self, method):
        if self.plan["method"] == method and not self.raised:
            self.raised = True
            kind = OurError if self.plan["kind"] == "OurError" else getattr(builtins, self.plan["kind"])
            raise kind(*self.plan["args"])

    def setup(self, bottom, top):
        self.obey("setup")

    def reshape(self, bottom, top):
        SameShape.reshape(self, bottom, top)
        self.obey("reshape")

    def forward(self, bottom, top):
        bottom[0].data[...] += 1
        self.obey("forward")
        top[0].data[...] = 5

    def backward(self, top, propagate_down, bottom):
        self.obey("backward")
        bottom[0].diff[...] = 6


class Exits(SameShape):
    def forward(self, bottom, top):
        sys.exit(3)


class BadText(SameShape):
    def forward(self, bottom, top):
        raise RuntimeError(os.fsdecode(b"no such file: caf\xe9"))


class EchoesParamStr(caffe.Layer):
    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape(2)

    def forward(self, bottom, top):
        top[0].data[...] = len(self.param_str), sum(map(ord, self.param_str[::4096]))


class ShrinksItsBottom(SameShape):
    """Gives its bottom another shape, and one of its tops more room than it uses."""

    def forward(self, bottom, top):
        bottom[0].reshape(bottom[0].count // 2)
        top[0].reshape(100)
        top[0].data[...] = 8
        top[0].reshape(3)


class Recurrent(caffe.Layer):
    """h' = tanh(0.9 h + x W + b), with state, params, and a top whose rows depend on the values."""

    def setup(self, bottom, top):
        self.random = np.random.RandomState(len(self.param_str))
        self.columns = bottom[0].shape[-1] if bottom[0].shape else 1
        self.blobs.add_blob(self.columns, 3)
        self.blobs.add_blob(3)
        self.blobs[0].data[...] = self.random.randn(self.columns, 3)
        self.state = np.zeros(3, np.float32)

    def reshape(self, bottom, top):
        top[0].reshape(3)

    def forward(self, bottom, top):
        rows = bottom[0].data.reshape(-1, self.columns)
        for row in rows:
            self.state = np.tanh(np.float32(0.9) * self.state + row @ self.blobs[0].data + self.blobs[1].data)
        top[0].data[...] = self.state
        chosen = rows[rows[:, :1].ravel() > 0] if self.columns else rows[:0]
        top[1].reshape(len(chosen), self.columns)
        top[1].data[...] = chosen
        self.blobs[1].data[...] += np.float32(0.01) * self.state
        bottom[0].diff[...] += 1

    def backward(self, top, propagate_down, bottom):
        noise = self.random.randn(3).astype(np.float32)
        gradient = (top[0].diff + noise) * (1 - self.state * self.state)
        self.blobs[1].diff[...] += gradient
        if propagate_down[0]:
            bottom[0].diff[...] *= self.blobs[0].diff.sum() + gradient.sum()
