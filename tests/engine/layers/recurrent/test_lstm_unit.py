import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos.errors import NetError
from tests.engine.support import (
    assert_nothing_is_allocated,
    assert_untouched,
    blob_of,
    layer_of,
    random_blob,
    run,
    untouched,
)

TEXT = 'type: "LSTMUnit"'


def unit(streams: int = 3, size: int = 2) -> list[Blob]:
    return [
        random_blob(1, streams, size),
        random_blob(1, streams, 4 * size, seed=1),
        blob_of(np.arange(streams)[None] % 2),
    ]


def test_forward_follows_the_formula_value_by_value() -> None:
    bottom = unit()
    bottom[2].data[...] = [[1, 0, 0.5]]
    c, h = run(layer_of(TEXT), bottom, 2)
    for n in range(3):
        for d in range(2):
            i, f, o = (1 / (1 + np.exp(-float(bottom[1].data[0, n, part * 2 + d]))) for part in range(3))
            g = np.tanh(float(bottom[1].data[0, n, 6 + d]))
            expected = bottom[2].data[0, n] * f * bottom[0].data[0, n, d] + i * g
            assert c.data[0, n, d] == pytest.approx(expected, rel=1e-4)
            assert h.data[0, n, d] == pytest.approx(o * np.tanh(expected), rel=1e-4)


@pytest.mark.parametrize(("streams", "size"), [(3, 2), (1, 1), (2, 4)])
def test_the_gradient_is_right(streams: int, size: int) -> None:
    assert GradientChecker().check(layer_of(TEXT), unit(streams, size), [Blob(), Blob()], check_bottom=[0, 1])


@pytest.mark.parametrize("wanted", [0, 1])
def test_each_bottom_gets_its_gradient_alone_and_leaves_the_other_as_it_is(wanted: int) -> None:
    bottom = unit()
    layer = layer_of(TEXT)
    top = run(layer, bottom, 2)
    for seed, blob in enumerate(top):
        blob.diff[...] = random_blob(*blob.shape, seed=seed).data
    layer.run_backward(top, [True, True, False], bottom)
    expected = bottom[wanted].diff.copy()
    for blob in bottom:
        untouched(blob)
    layer.run_backward(top, [wanted == 0, wanted == 1, False], bottom)
    np.testing.assert_array_equal(bottom[wanted].diff, expected)
    assert_untouched(bottom[1 - wanted])
    assert_untouched(bottom[2])


def test_without_propagate_down_all_diffs_stay() -> None:
    bottom = unit()
    layer = layer_of(TEXT)
    top = run(layer, bottom, 2)
    for blob in bottom:
        untouched(blob)
    layer.run_backward(top, [False, False, False], bottom)
    for blob in bottom:
        assert_untouched(blob)


def test_cont_gets_no_gradient() -> None:
    bottom = unit()
    layer = layer_of(TEXT)
    top = run(layer, bottom, 2)
    assert [layer.allow_force_backward(index) for index in range(3)] == [True, True, False]
    with pytest.raises(NetError, match=r"layer 'l' \(LSTMUnit\): cont cannot have a gradient"):
        layer.run_backward(top, [True, True, True], bottom)


def test_without_streams_nothing_happens() -> None:
    bottom = [Blob((1, 0, 2)), Blob((1, 0, 8)), Blob((1, 0))]
    layer = layer_of(TEXT)
    top = run(layer, bottom, 2)
    layer.run_backward(top, [True, True, False], bottom)
    assert [blob.shape for blob in top] == [(1, 0, 2), (1, 0, 2)]


def test_nothing_is_allocated_in_a_steady_state() -> None:
    layer = layer_of(TEXT)
    assert_nothing_is_allocated(layer, unit(256, 256), 2, propagate_down=[True, True, False])


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(3, 2), (1, 3, 8), (1, 3)], r"bottom\[0\] has shape \(3, 2\), expected \(1, streams, num_output\)"),
        ([(2, 3, 2), (2, 3, 8), (2, 3)], r"bottom\[0\] has shape \(2, 3, 2\)"),
        ([(1, 3, 2), (1, 3, 6), (1, 3)], r"bottom\[1\] \(the gates\) has shape \(1, 3, 6\), expected \(1, 3, 8\)"),
        ([(1, 3, 2), (1, 4, 8), (1, 3)], r"bottom\[1\] \(the gates\) has shape \(1, 4, 8\)"),
        ([(1, 3, 2), (1, 3, 8), (1, 3, 1)], r"bottom\[2\] \(cont\) has shape \(1, 3, 1\), expected \(1, 3\)"),
        ([(1, 3, 2), (1, 3, 8)], "takes exactly 3 bottom"),
    ],
)
def test_bottoms_that_do_not_fit_are_refused(shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(NetError, match=message):
        run(layer_of(TEXT), [Blob(shape) for shape in shapes], 2)
