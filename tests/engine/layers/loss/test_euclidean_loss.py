import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos.errors import NetError
from tests.engine.support import assert_untouched, layer_of, random_blob, run, untouched

TEXT = 'type: "EuclideanLoss"'


def pair() -> list[Blob]:
    return [random_blob(4, 3), random_blob(4, 3, seed=8)]


def test_the_loss_is_half_the_mean_squared_distance() -> None:
    bottom = pair()
    (top,) = run(layer_of(TEXT), bottom)
    assert top.shape == ()
    assert top.data == pytest.approx(((bottom[0].data - bottom[1].data) ** 2).sum() / 4 / 2)


def test_the_gradients_of_both_bottoms_are_right() -> None:
    assert GradientChecker().check(layer_of(TEXT), pair(), [Blob()])


def test_shapes_may_differ_where_the_values_match() -> None:
    bottom = [random_blob(4, 6), random_blob(4, 2, 3)]
    (top,) = run(layer_of(TEXT), bottom)
    assert np.isfinite(top.data)


@pytest.mark.parametrize("other", [(3, 4), (4, 2), (4,)])
def test_bottoms_that_do_not_fit_are_refused(other: tuple[int, ...]) -> None:
    with pytest.raises(NetError, match=r"layer 'l' \(EuclideanLoss\).*\(4, 3\)"):
        run(layer_of(TEXT), [random_blob(4, 3), random_blob(*other)])


def test_an_empty_batch_of_other_values_is_refused() -> None:
    with pytest.raises(NetError, match=r"\(0, 3\) and \(0, 4\) hold different numbers of values"):
        run(layer_of(TEXT), [random_blob(0, 3), random_blob(0, 4)])


def test_each_bottom_gets_a_gradient_of_its_own() -> None:
    bottom, layer = pair(), layer_of(TEXT)
    top = run(layer, bottom)
    untouched(bottom[0])
    layer.backward(top, [False, True], bottom)
    assert_untouched(bottom[0])
    np.testing.assert_allclose(bottom[1].diff, (bottom[1].data - bottom[0].data) / 4, rtol=1e-5)
