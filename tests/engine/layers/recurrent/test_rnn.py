import numpy as np
import pytest

from tests.engine.layers.recurrent.test_recurrent_layer import text
from tests.engine.support import blob_of, layer_of, random_blob, run


@pytest.mark.parametrize("static", [False, True])
def test_forward_follows_the_formula_stream_by_stream(static: bool) -> None:
    x = random_blob(5, 3, 2, 2)
    cont = blob_of([[0, 1, 1], [1, 1, 0], [1, 0.5, 1], [0, 1, 1], [1, 1, 1]])
    x_static = random_blob(3, 4, seed=2)
    layer = layer_of(text("RNN"))
    (top,) = run(layer, [x, cont, x_static] if static else [x, cont])
    params = [blob.data.astype(np.float64) for blob in layer.params]
    shapes = [(3, 4), (3,), (3, 4), (3, 3), (3, 3), (3,)]
    if not static:
        del shapes[2]
    assert [param.shape for param in params] == shapes
    for n in range(3):
        h = np.zeros(3)
        for t in range(5):
            gates = params[0] @ x.data[t, n].ravel() + params[1] + params[-3] @ (cont.data[t, n] * h)
            h = np.tanh(gates + params[2] @ x_static.data[n] if static else gates)
            np.testing.assert_allclose(top.data[t, n], np.tanh(params[-2] @ h + params[-1]), rtol=1e-4, atol=1e-5)


def test_the_exposed_top_is_the_last_hidden_state() -> None:
    bottom = [random_blob(2, 3, 4), blob_of(np.ones((2, 3))), random_blob(1, 3, 3)]
    layer = layer_of(text("RNN", "expose_hidden: true"))
    o, last_h = run(layer, bottom, 2)
    w_ho, b_o = (blob.data for blob in layer.params[-2:])
    np.testing.assert_allclose(o.data[-1], np.tanh(last_h.data[0] @ w_ho.T + b_o), rtol=1e-4, atol=1e-5)
