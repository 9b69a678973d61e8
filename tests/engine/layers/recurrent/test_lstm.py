import numpy as np
import pytest

from tests.engine.layers.recurrent.test_recurrent_layer import text
from tests.engine.support import blob_of, layer_of, random_blob, run


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("static", [False, True])
def test_forward_follows_the_formula_stream_by_stream(static: bool) -> None:
    x = random_blob(5, 3, 2, 2)
    cont = blob_of([[0, 1, 1], [1, 1, 0], [1, 0.5, 1], [0, 1, 1], [1, 1, 1]])
    x_static = random_blob(3, 4, seed=2)
    layer = layer_of(text("LSTM"))
    (top,) = run(layer, [x, cont, x_static] if static else [x, cont])
    params = [blob.data.astype(np.float64) for blob in layer.params]
    shapes = [(12, 4), (12,), (12, 4), (12, 3)] if static else [(12, 4), (12,), (12, 3)]
    assert [param.shape for param in params] == shapes
    for n in range(3):
        h, c = np.zeros(3), np.zeros(3)
        for t in range(5):
            go_on = cont.data[t, n]
            gates = params[0] @ x.data[t, n].ravel() + params[1] + params[-1] @ (go_on * h)
            if static:
                gates = gates + params[2] @ x_static.data[n]
            i, f, o, g = gates[:3], gates[3:6], gates[6:9], gates[9:]
            c = go_on * logistic(f) * c + logistic(i) * np.tanh(g)
            h = logistic(o) * np.tanh(c)
            np.testing.assert_allclose(top.data[t, n], h, rtol=1e-4, atol=1e-5)


def test_exposed_tops_are_the_last_output_and_memory() -> None:
    bottom = [random_blob(2, 3, 4), blob_of(np.ones((2, 3))), random_blob(1, 3, 3), random_blob(1, 3, 3, seed=1)]
    layer = layer_of(text("LSTM", "expose_hidden: true"))
    h, last_h, last_c = run(layer, bottom, 3)
    np.testing.assert_array_equal(last_h.data[0], h.data[-1])
    o = logistic(
        layer.params[0].data[6:9] @ bottom[0].data[1].T
        + layer.params[1].data[6:9, None]
        + layer.params[2].data[6:9] @ h.data[0].T
    ).T
    np.testing.assert_allclose(h.data[1], o * np.tanh(last_c.data[0]), rtol=1e-4, atol=1e-5)


def test_huge_gates_saturate_without_a_warning() -> None:
    bottom = [blob_of(np.full((2, 1, 1), -1e4)), blob_of(np.ones((2, 1)))]
    (top,) = run(layer_of(text("LSTM")), bottom)
    assert np.isfinite(top.data).all()
