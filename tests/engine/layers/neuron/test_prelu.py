import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.engine.layer import Layer
from farlayer.protos.errors import NetError
from tests.engine.support import blob_of, layer_of, random_blob, run, set_up

GAUSSIAN = 'filler { type: "gaussian" std: 1 }'
SHAPES = [(4, 3), (2, 3, 4), (2, 3, 2, 2)]


def text(fields: str = "") -> str:
    return f'type: "PReLU" prelu_param {{ {fields} }}'


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shared", ["", "channel_shared: true"])
def test_negative_values_are_scaled_by_the_slope_of_their_channel(shared: str, shape: tuple[int, ...]) -> None:
    bottom, layer = random_blob(*shape), layer_of(text(f"{shared} {GAUSSIAN}"))
    (top,) = run(layer, [bottom])
    slopes = layer.params[0].data
    for index in np.ndindex(*shape):
        x = bottom.data[index]
        slope = slopes if shared else slopes[index[1]]
        assert top.data[index] == pytest.approx(x if x > 0 else slope * x)


@pytest.mark.parametrize(("fields", "expected"), [("", (3,)), ("channel_shared: true", ())])
def test_slopes_are_a_quarter_at_first(fields: str, expected: tuple[int, ...]) -> None:
    layer = layer_of(text(fields))
    set_up(layer, [random_blob(2, 3)])
    assert layer.params[0].shape == expected
    assert (layer.params[0].data == 0.25).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shared", ["", "channel_shared: true"])
def test_the_gradient_is_right(shared: str, shape: tuple[int, ...]) -> None:
    bottom, layer = random_blob(*shape), layer_of(text(f"{shared} {GAUSSIAN}"))
    bottom.data[np.abs(bottom.data) < 0.02] = 0.5
    assert GradientChecker().check(layer, [bottom], [Blob()])


def gradients(layer: Layer) -> np.ndarray:
    bottom = random_blob(2, 3)
    top = set_up(layer, [bottom])
    layer.run_forward([bottom], top)
    top[0].diff.fill(1)
    for _ in range(2):
        layer.run_backward(top, [True], [bottom])
    return layer.params[0].diff


def test_the_gradient_of_the_slopes_is_added() -> None:
    x = random_blob(2, 3).data
    np.testing.assert_allclose(gradients(layer_of(text())), 2 * np.minimum(x, 0).sum(axis=0), rtol=1e-5)
    np.testing.assert_allclose(gradients(layer_of(text("channel_shared: true"))), 2 * np.minimum(x, 0).sum(), rtol=1e-5)


def test_slopes_that_do_not_learn_get_no_gradient() -> None:
    bottom, layer = random_blob(2, 3), layer_of(text())
    top = run(layer, [bottom])
    layer.param_propagate_down = [False]
    top[0].diff.fill(1)
    layer.run_backward(top, [True], [bottom])
    assert not layer.params[0].diff.any()


def test_a_blob_without_channels_is_refused() -> None:
    with pytest.raises(NetError, match=r"layer 'l' \(PReLU\): bottom shape \(3,\) has 1 axes, expected 2 or more"):
        run(layer_of(text()), [random_blob(3)])


def test_a_changed_number_of_channels_is_refused() -> None:
    bottom, layer = random_blob(2, 3), layer_of(text())
    top = run(layer, [bottom])
    bottom.reshape(2, 4)
    with pytest.raises(NetError, match=r"has 4 channels \(axis 1\), expected 3 as at setup"):
        layer.run_forward([bottom], top)


def test_with_one_slope_the_number_of_channels_may_change() -> None:
    bottom, layer = random_blob(2, 3), layer_of(text("channel_shared: true"))
    top = run(layer, [bottom])
    bottom.reshape(2, 4)
    bottom.data.fill(-4)
    layer.run_forward([bottom], top)
    assert (top[0].data == -1).all()


def test_slopes_of_a_wrong_shape_are_refused() -> None:
    blobs = "blobs { shape { dim: 2 } data: 1 data: 2 }"
    with pytest.raises(NetError, match=r"params of shapes \[\(2,\)\], expected \[\(3,\)\]"):
        run(layer_of(f"{text()} {blobs}"), [blob_of([[1, 2, 3]])])
