"""What LSTM and RNN share: a state that steps through time, and its way from one call to the next."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from farlayer.blobs.blob import Blob
from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.layers.common.products import add_product
from farlayer.engine.layers.no_gradient import refuse_gradient
from farlayer.protos import caffe_pb2

Array = NDArray[np.float32]
ParamSpec = tuple[tuple[int, ...], caffe_pb2.FillerParameter]


class RecurrentLayer(Layer):
    """A hidden state h of D = num_output values a stream, made anew at each step of a sequence; a subclass says how.

    gates_t = W_x x_t + b (+ W_static x_static) + W_h (cont_t h_{t-1}), G of D values; h_t = cell(gates_t, cont_t).

    bottom[0]: x, shape (T, N, features...): T time steps of N independent streams. T stays as it was at setup.
    bottom[1]: cont, shape (T, N): 0 where a stream begins a new sequence, 1 where it goes on.
    bottom[2], optional: x_static, shape (N, features...), the same at every step.
    With expose_hidden, further bottoms with the first states and further tops with the last ones, each (1, N, D): h,
        then what else the cell keeps. Without it the first states are the last ones of the call before, at first zero.
    params: W_x (G D, features), b (G D,), with x_static W_static (G D, its features), W_h (G D, D).

    No gradient leaves a call: exposed first states get zero, and the diffs of exposed last states are not read.
    recurrent_param.debug_info has no effect: there is no net inside that could report on itself.
    Differs from Caffe: a param whose lr_mult is 0 gets no gradient.
    Source: Caffe, src/caffe/layers/recurrent_layer.cpp.
    """

    state_names: ClassVar[tuple[str, ...]]
    """What goes from step to step, h first."""
    num_gates: ClassVar[int]
    """G above. In the arrays here gates have an axis of their own before that of the streams."""

    # What a subclass gives

    def _output_params(self, num_output: int) -> list[ParamSpec]:
        """Shapes and fillers of params besides those of the gates."""
        return []

    def _hidden(self, gates: Array, top: Blobs) -> Array:
        """Where forward puts h of all steps, shape (T, N, D)."""
        return top[0].data

    def _begin(self, first: Blobs) -> None:
        """Takes from `first` the states besides h that the first step starts from."""

    def _step(self, t: int, gates: Array, cont: Array, h: Array) -> None:
        """Computes h (N, D) of step t, 0 to T - 1, from gates (G, N, D), which it may change, and cont (N, 1)."""
        raise NotImplementedError

    def _end(self, last: Blobs) -> None:
        """Puts into `last` the states besides h that the last step came to."""

    def _hidden_gradient(self, top: Blobs) -> Array:
        """The gradient of h that comes from the tops, shape (T, N, D); called once, before the steps go back."""
        return top[0].diff

    def _step_back(self, t: int, gates: Array, dh: Array, dgates: Array) -> None:
        """Sets the gradient of the gates of step t from that of h; `gates` are as `_step` left them."""
        raise NotImplementedError

    # The layer

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index != 1

    def check_counts(self, num_bottom: int, num_top: int) -> None:
        expose = self.param.recurrent_param.expose_hidden
        exposed = len(self.state_names) if expose else 0
        if num_bottom - exposed in (2, 3) and num_top == 1 + exposed:
            return
        first, last = (" and ".join(f"{name}_{t}" for name in self.state_names) for t in ("0", "T"))
        raise self.error(
            f"takes {2 + exposed} or {3 + exposed} bottoms and {1 + exposed} top(s) "
            f"{'with' if expose else 'without'} expose_hidden, got {num_bottom} and {num_top}",
            remedy="give the bottoms x, cont, where wanted x_static"
            + (f", then {first}; the tops are the output, then {last}" if expose else ""),
        )

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.recurrent_param
        if not param.num_output:
            raise self.error("num_output is 0", remedy="set recurrent_param.num_output to 1 or more")
        num_exposed = len(self.state_names) if param.expose_hidden else 0
        self._num_output = param.num_output
        self._first_exposed = len(bottom) - num_exposed
        self._has_static = self._first_exposed > 2
        self._states = [] if num_exposed else [Blob() for _ in self.state_names]
        self._check_shapes(bottom)
        self._num_steps = bottom[0].shape[0]
        self._num_inputs = self._count_inputs(bottom)
        self._recurrent_param = 2 + self._has_static
        rows = self.num_gates * param.num_output
        specs: list[ParamSpec] = [
            ((rows, self._num_inputs[0]), param.weight_filler),
            ((rows,), param.bias_filler),
            *(((rows, size), param.weight_filler) for size in self._num_inputs[1:]),
            ((rows, param.num_output), param.weight_filler),
            *self._output_params(param.num_output),
        ]
        self.make_params([shape for shape, _ in specs], [filler for _, filler in specs])

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        self._check_shapes(bottom)
        num_steps, num_streams = bottom[0].shape[:2]
        if num_steps != self._num_steps:
            raise self.error(
                f"bottom[0] of shape {bottom[0].shape} has {num_steps} time steps, expected {self._num_steps} as at "
                "setup",
                remedy="between calls only the number of streams may change",
            )
        if self._count_inputs(bottom) != self._num_inputs:
            raise self.error(
                f"x (and x_static) have {self._count_inputs(bottom)} features, expected {self._num_inputs} as at setup",
                remedy="between calls only the number of streams may change",
            )
        state_shape = (1, num_streams, self._num_output)
        for index in range(self._first_exposed, len(bottom)):
            if bottom[index].shape != state_shape:
                raise self.error(
                    f"bottom[{index}], a first state, has shape {bottom[index].shape}, expected {state_shape}",
                    remedy="give first states of shape (1, streams, num_output)",
                )
        top[0].reshape(num_steps, num_streams, self._num_output)
        for blob in (*self._states, *top[1:]):
            blob.reshape(state_shape)

    def reset(self) -> None:
        """Forgets the states of the call before: the next one starts from zero."""
        for blob in self._states:
            blob.data.fill(0)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        first = self._states or bottom[self._first_exposed :]
        last = self._states or top[1:]
        gates, conted = self._gates(bottom), self._conted(bottom)
        self._set_inputs(bottom, gates)
        weights = self._transposed_weights()
        share = self.workspace.array("gates from h", gates.shape[1:])
        cont = bottom[1].data[..., None]
        h, before = self._hidden(gates, top), first[0].data[0]
        self._begin(first)
        for t in range(self._num_steps):
            np.multiply(before, cont[t], out=conted[t])
            np.matmul(conted[t], weights, out=share)
            np.add(gates[t], share, out=gates[t])
            self._step(t, gates[t], cont[t], h[t])
            before = h[t]
        last[0].data[0] = before
        self._end(last)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        refuse_gradient(self, propagate_down, 1, "cont")
        for blob, wanted in zip(bottom[self._first_exposed :], propagate_down[self._first_exposed :], strict=True):
            if wanted:
                blob.diff.fill(0)
        steps = self._back_through_time(bottom, top)
        rows = as_rows(steps)
        self._add_gradient(0, rows, as_rows(bottom[0].data))
        self._add_sum(1, rows)
        self._add_gradient(self._recurrent_param, rows, as_rows(self._conted(bottom)))
        if propagate_down[0]:
            np.matmul(rows, self.params[0].data, out=as_rows(bottom[0].diff))
        if self._has_static:
            total = self.workspace.array("gradient of static gates", steps.shape[1:])
            np.sum(steps, axis=0, out=total)
            self._add_gradient(2, total, as_rows(bottom[2].data, 1))
            if propagate_down[2]:
                np.matmul(total, self.params[2].data, out=as_rows(bottom[2].diff, 1))

    # Helpers

    def _gates(self, bottom: Blobs) -> Array:
        """The gates of all steps, shape (T, G, N, D), kept from forward to backward."""
        num_steps, num_streams = bottom[1].shape
        return self.scratch.array("gates", (num_steps, self.num_gates, num_streams, self._num_output))

    def _conted(self, bottom: Blobs) -> Array:
        """cont_t h_{t-1} of all steps, shape (T, N, D), kept from forward to backward."""
        return self.scratch.array("conted", (*bottom[1].shape, self._num_output))

    def _set_inputs(self, bottom: Blobs, gates: Array) -> None:
        """Sets the gates to what x and x_static give to them, in one product over all steps."""
        size = self.num_gates * self._num_output
        share = self.workspace.array("gates from x", (*bottom[1].shape, size))
        np.matmul(as_rows(bottom[0].data), self.params[0].data.T, out=as_rows(share))
        np.add(self._by_gate(share), self._by_gate(self.params[1].data[None]), out=gates)
        if self._has_static:
            share = self.workspace.array("gates from x_static", (bottom[1].shape[1], size))
            np.matmul(as_rows(bottom[2].data, 1), self.params[2].data.T, out=share)
            np.add(gates, self._by_gate(share), out=gates)

    def _transposed_weights(self) -> Array:
        """W_h as G matrices that h is multiplied with from the left: so laid out, each step's product is faster."""
        shape = (self.num_gates, self._num_output, self._num_output)
        weights = self.workspace.array("transposed weights", shape)
        np.copyto(weights, self.params[self._recurrent_param].data.reshape(shape).swapaxes(1, 2))
        return weights

    def _back_through_time(self, bottom: Blobs, top: Blobs) -> Array:
        """The gradient of the gates of all steps, shape (T, N, G D)."""
        gates, cont = self._gates(bottom), bottom[1].data[..., None]
        weights = self.params[self._recurrent_param].data
        from_top = self._hidden_gradient(top)
        steps = self.workspace.array("gradient of gates", (*bottom[1].shape, len(weights)))
        dgates = self.workspace.array("gradient of one step's gates", gates.shape[1:])
        dh = self.workspace.array("gradient of h", from_top.shape[1:])
        dh.fill(0)
        for t in reversed(range(self._num_steps)):
            np.add(dh, from_top[t], out=dh)
            self._step_back(t, gates[t], dh, dgates)
            self._by_gate(steps[t])[...] = dgates
            np.matmul(steps[t], weights, out=dh)
            np.multiply(dh, cont[t], out=dh)
        return steps

    def _by_gate(self, rows: Array) -> Array:
        """A view of (..., N, G D) as (..., G, N, D)."""
        return rows.reshape(*rows.shape[:-1], self.num_gates, self._num_output).swapaxes(-3, -2)

    def _add_gradient(self, index: int, dy: Array, x: Array) -> None:
        """Adds the gradient of the weights in y = x W^T, for rows of x and y."""
        if self.param_propagate_down[index]:
            add_product(dy, x, self.params[index].diff, self.workspace)

    def _add_sum(self, index: int, dy: Array) -> None:
        """Adds the gradient of the bias in y = x + b, for rows of y."""
        if self.param_propagate_down[index]:
            param = self.params[index]
            np.add(param.diff, dy.sum(axis=0), out=param.diff)

    def _count_inputs(self, bottom: Blobs) -> list[int]:
        """How many values x, and x_static where there is one, have for each stream and step."""
        x = math.prod(bottom[0].shape[2:])
        return [x, math.prod(bottom[2].shape[1:])] if self._has_static else [x]

    def _check_shapes(self, bottom: Blobs) -> None:
        """Checks that x, cont and x_static are of the same time steps and streams."""
        x, cont = bottom[0].shape, bottom[1].shape
        if len(x) < 3 or not x[0]:
            raise self.error(
                f"bottom[0] has shape {x}, expected (time steps, streams, features...), 1 time step or more",
                remedy="reshape the blob; a single feature needs an axis of 1",
            )
        if cont != x[:2]:
            raise self.error(
                f"bottom[1] (cont) has shape {cont}, expected {x[:2]}: the time steps and streams of bottom[0]",
                remedy="give one value for each time step and stream",
            )
        if self._has_static and (len(bottom[2].shape) < 2 or bottom[2].shape[0] != x[1]):
            raise self.error(
                f"bottom[2] (x_static) has shape {bottom[2].shape}, expected ({x[1]}, features...): the streams of "
                "bottom[0] first",
                remedy="give one row of features for each stream",
            )


def as_rows(array: Array, axes: int = 2) -> Array:
    """A view whose first axes are taken as one, and whose others too."""
    shape = array.shape
    return array.reshape(math.prod(shape[:axes]), math.prod(shape[axes:]))
