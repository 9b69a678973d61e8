"""One step of a long short-term memory, forward and back, in place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.scratch import Scratch

Array = NDArray[np.float32]


def lstm_forward(gates: Array, cont: Array, c_before: Array, c: Array, h: Array) -> None:
    """Computes the memory c and the output h of one step.

    c = f c_before + i g and h = o tanh(c), where i and o are the logistic function of their gates, f is cont times that
    of its gate, and g is tanh of its gate.

    Args:
        gates: the inputs of i, f, o and g, shape (4, N, D); become their values.
        cont: shape (N, 1).
        c_before: the memory of the step before, shape (N, D).
        c: set to the memory.
        h: set to the output.

    Source: Caffe, src/caffe/layers/lstm_unit_layer.cpp.
    """
    logistic = gates[:3]
    i, f, o, g = gates
    np.negative(logistic, out=logistic)
    np.exp(logistic, out=logistic)
    np.add(logistic, 1, out=logistic)
    np.reciprocal(logistic, out=logistic)
    np.tanh(g, out=g)
    np.multiply(f, cont, out=f)
    np.multiply(f, c_before, out=c)
    np.multiply(i, g, out=h)
    np.add(c, h, out=c)
    np.tanh(c, out=h)
    np.multiply(h, o, out=h)


def lstm_backward(
    gates: Array,
    c_before: Array,
    c: Array,
    dc: Array,
    dh: Array,
    dgates: Array,
    dc_before: Array,
    workspace: Scratch,
) -> None:
    """Computes the gradients of one step's gate inputs and of the memory before it.

    As in Caffe the slope of f is f (1 - f) with cont in f: exact for cont of 0 and 1.

    Args:
        gates: the values of i, f, o and g, as `lstm_forward` leaves them.
        c_before: the memory of the step before, shape (N, D).
        c: the memory of this step.
        dc: the gradient of c that comes from elsewhere than h.
        dh: the gradient of h.
        dgates: set to the gradient of the gate inputs, shape (4, N, D).
        dc_before: set to the gradient of c_before; may be dc itself.
        workspace: where intermediate arrays come from.
    """
    i, f, o, g = gates
    di, df, do, dg = dgates
    # The slopes first: s (1 - s) of the logistic function, 1 - g^2 of tanh.
    np.subtract(1, gates[:3], out=dgates[:3])
    np.multiply(dgates[:3], gates[:3], out=dgates[:3])
    np.multiply(g, g, out=dg)
    np.subtract(1, dg, out=dg)

    tanh_c = workspace.array("tanh of c", c.shape)
    np.tanh(c, out=tanh_c)
    np.multiply(do, tanh_c, out=do)
    np.multiply(do, dh, out=do)

    total = tanh_c  # the whole gradient of c: dc + dh o (1 - tanh(c)^2)
    np.multiply(tanh_c, tanh_c, out=total)
    np.subtract(1, total, out=total)
    np.multiply(total, o, out=total)
    np.multiply(total, dh, out=total)
    np.add(total, dc, out=total)

    for gradient, partner in ((di, g), (df, c_before), (dg, i)):
        np.multiply(gradient, partner, out=gradient)
        np.multiply(gradient, total, out=gradient)
    np.multiply(total, f, out=dc_before)
