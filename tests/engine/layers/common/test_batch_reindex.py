import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos.errors import NetError
from tests.engine.support import (
    assert_nothing_is_allocated,
    assert_untouched,
    blob_of,
    layer_of,
    native_net,
    random_blob,
    run,
    untouched,
)

TEXT = 'type: "BatchReindex"'


@given(st.lists(st.integers(0, 3), max_size=9), st.sampled_from([(), (3,), (2, 1, 2)]))
@settings(max_examples=25, deadline=None)
def test_samples_are_picked_and_their_gradients_summed(index: list[int], axes: tuple[int, ...]) -> None:
    bottom = [random_blob(4, *axes), blob_of(np.array(index))]
    layer = layer_of(TEXT)
    top = run(layer, bottom)
    assert top[0].shape == (len(index), *axes)
    for number, source in enumerate(index):
        np.testing.assert_array_equal(top[0].data[number], bottom[0].data[source])
    top[0].diff[...] = random_blob(*top[0].shape, seed=3).data
    bottom[0].diff.fill(5)
    layer.run_backward(top, [True, False], bottom)
    for sample in range(4):
        taken = [top[0].diff[number] for number, source in enumerate(index) if source == sample]
        np.testing.assert_allclose(bottom[0].diff[sample], np.sum(taken, axis=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("index", [[2, 0, 1], [1, 1, 1, 1, 1], [0]])
def test_the_gradient_is_right(index: list[int]) -> None:
    bottom = [random_blob(3, 2), blob_of(index)]
    assert GradientChecker().check(layer_of(TEXT), bottom, [Blob()], check_bottom=[0])


def test_an_empty_batch_passes() -> None:
    bottom = [random_blob(0, 3), blob_of([])]
    layer = layer_of(TEXT)
    top = run(layer, bottom)
    layer.run_backward(top, [True, False], bottom)
    assert top[0].shape == (0, 3)


def test_the_number_of_indices_may_change() -> None:
    bottom = [random_blob(3, 2), blob_of([0])]
    layer = layer_of(TEXT)
    top = run(layer, bottom)
    bottom[1].reshape(4)
    bottom[1].data[...] = [2, 2, 1, 0]
    layer.run_forward(bottom, top)
    np.testing.assert_array_equal(top[0].data, bottom[0].data[[2, 2, 1, 0]])


def test_without_propagate_down_the_diff_stays() -> None:
    bottom = [random_blob(3, 2), blob_of([0, 1])]
    layer = layer_of(TEXT)
    top = run(layer, bottom)
    untouched(bottom[0])
    layer.run_backward(top, [False, False], bottom)
    assert_untouched(bottom[0])


def test_a_steady_state_allocates_nothing() -> None:
    bottom = [random_blob(64, 1000), blob_of(np.arange(96) % 40)]
    assert_nothing_is_allocated(layer_of(TEXT), bottom, propagate_down=[True, False])


@pytest.mark.parametrize(
    ("x", "index", "message"),
    [
        (random_blob(3, 2), blob_of([[0, 1]]), r"the index, bottom\[1\], has shape \(1, 2\), expected one axis"),
        (random_blob(3, 2), blob_of(0), r"has shape \(\), expected one axis"),
        (blob_of(1), blob_of([0]), r"bottom\[0\] has no axes"),
        (random_blob(3, 2), blob_of([0, 3]), "index 3 is out of range: there are 3 samples"),
        (random_blob(3, 2), blob_of([-1]), "index -1 is out of range"),
    ],
)
def test_what_cannot_be_is_refused(x: Blob, index: Blob, message: str) -> None:
    with pytest.raises(NetError, match=message):
        run(layer_of(TEXT), [x, index])


def test_the_index_has_no_gradient() -> None:
    bottom = [random_blob(3, 2), blob_of([0, 1])]
    layer = layer_of(TEXT)
    top = run(layer, bottom)
    with pytest.raises(NetError, match="index cannot have a gradient"):
        layer.run_backward(top, [True, True], bottom)


def test_force_backward_leaves_the_index_out() -> None:
    net = native_net(
        'force_backward: true layer { name: "in" type: "Input" top: "x" top: "i" '
        "input_param { shape { dim: 2 dim: 3 } shape { dim: 4 } } } "
        'layer { name: "l" type: "BatchReindex" bottom: "x" bottom: "i" top: "y" }'
    )
    with net:
        net.forward()
        net.blobs["y"].diff.fill(1)
        net.backward()
        assert net.blobs["x"].diff.tolist() == [[4, 4, 4], [0, 0, 0]]
