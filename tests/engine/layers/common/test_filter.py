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
    set_up,
    untouched,
)

TEXT = 'type: "Filter"'


@given(st.lists(st.sampled_from([0.0, -0.0, 1.0, -3.0, 0.5]), max_size=7))
@settings(max_examples=25, deadline=None)
def test_the_selected_samples_pass_and_only_they_get_a_gradient(values: list[float]) -> None:
    num = len(values)
    bottom = [random_blob(num, 3), random_blob(num, 2, 2, seed=8), blob_of(np.array(values))]
    layer = layer_of(TEXT)
    top = run(layer, bottom, num_top=2)
    selected = [sample for sample, value in enumerate(values) if value]
    for x, y in zip(bottom, top):
        np.testing.assert_array_equal(y.data, x.data[selected])
        y.diff[...] = random_blob(*y.shape, seed=9).data
        x.diff.fill(5)
    layer.run_backward(top, [True, True, False], bottom)
    for x, y in zip(bottom, top):
        for sample in range(num):
            expected = y.diff[selected.index(sample)] if sample in selected else 0
            np.testing.assert_array_equal(x.diff[sample], np.broadcast_to(expected, x.shape[1:]))


@pytest.mark.parametrize("selector", [[1, 0, 1], [0, 1, 0], [1, 1, 1]])
def test_the_gradient_is_right(selector: list[int]) -> None:
    bottom = [random_blob(3, 2), random_blob(3, 2, 1), blob_of(selector)]
    layer = layer_of(TEXT)
    top = run(layer, bottom, num_top=2)  # now the tops have the shapes that the selector gives
    assert GradientChecker().check(layer, bottom, top, check_bottom=[0, 1])


def test_at_setup_there_is_room_for_all_samples() -> None:
    (top,) = set_up(layer_of(TEXT), [random_blob(4, 2), blob_of([0, 1, 0, 0])])
    assert top.shape == (4, 2)


def test_the_selector_may_have_more_axes_of_one() -> None:
    (top,) = run(layer_of(TEXT), [random_blob(3, 2), blob_of([[[1]], [[0]], [[1]]])])
    assert top.shape == (2, 2)


def test_layers_behind_see_the_new_shape_in_the_same_pass() -> None:
    net = native_net(
        'layer { name: "in" type: "Input" top: "x" top: "s" input_param { shape { dim: 3 dim: 2 } shape { dim: 3 } } }'
        'layer { name: "filter" type: "Filter" bottom: "x" bottom: "s" top: "y" }'
        'layer { name: "sum" type: "Reduction" bottom: "y" top: "sum" reduction_param { axis: 1 } }'
    )
    with net:
        net.blobs["x"].data[...] = [[1, 2], [3, 4], [5, 6]]
        for selector, sums in (([0, 1, 1], [7, 11]), ([0, 0, 0], []), ([1, 1, 1], [3, 7, 11]), ([1, 0, 0], [3])):
            net.blobs["s"].data[...] = selector
            net.forward()
            assert net.blobs["sum"].data.tolist() == sums


def test_an_empty_batch_passes() -> None:
    bottom = [random_blob(0, 3), random_blob(0)]
    layer = layer_of(TEXT)
    top = run(layer, bottom)
    layer.run_backward(top, [True, False], bottom)
    assert top[0].shape == (0, 3)


def test_without_propagate_down_the_diff_stays() -> None:
    bottom = [random_blob(3, 2), random_blob(3, 1), blob_of([1, 0, 1])]
    layer = layer_of(TEXT)
    top = run(layer, bottom, num_top=2)
    untouched(bottom[0])
    layer.run_backward(top, [False, True, False], bottom)
    assert_untouched(bottom[0])


def test_a_steady_state_allocates_nothing() -> None:
    bottom = [random_blob(64, 1000), blob_of(np.arange(64) % 3)]
    assert_nothing_is_allocated(layer_of(TEXT), bottom, propagate_down=[True, False])


@pytest.mark.parametrize(
    ("bottom", "num_top", "message"),
    [
        ([random_blob(3, 2), blob_of([1, 0, 1])], 2, "got 2 bottoms, 2 tops"),
        ([random_blob(3, 2), random_blob(3, 2), blob_of([1, 0, 1])], 1, "got 3 bottoms, 1 tops"),
        ([random_blob(3, 2), random_blob(3, 2)], 1, r"selector, bottom\[1\], has shape \(3, 2\)"),
        ([random_blob(3, 2), blob_of(1)], 1, r"selector, bottom\[1\], has shape \(\)"),
        ([random_blob(3, 2), blob_of([1, 0])], 1, r"bottom\[0\] has shape \(3, 2\), but the selector has 2 values"),
        ([random_blob(2), random_blob(3), blob_of([1, 0])], 2, r"bottom\[1\] has shape \(3,\)"),
        ([blob_of(1), blob_of([1])], 1, r"bottom\[0\] has shape \(\)"),
        ([random_blob(3)], 1, "at least 2 bottom"),
    ],
)
def test_what_cannot_be_is_refused(bottom: list[Blob], num_top: int, message: str) -> None:
    with pytest.raises(NetError, match=message):
        set_up(layer_of(TEXT), bottom, num_top)


def test_the_selector_has_no_gradient() -> None:
    bottom = [random_blob(3, 2), blob_of([1, 0, 1])]
    layer = layer_of(TEXT)
    top = run(layer, bottom)
    with pytest.raises(NetError, match=r"selector cannot have a gradient") as caught:
        layer.run_backward(top, [True, True], bottom)
    assert "bottom[1]" in caught.value.remedy


def test_force_backward_leaves_the_selector_out() -> None:
    net = native_net(
        'force_backward: true layer { name: "in" type: "Input" top: "x" top: "s" '
        "input_param { shape { dim: 2 dim: 1 } shape { dim: 2 } } } "
        'layer { name: "l" type: "Filter" bottom: "x" bottom: "s" top: "y" }'
    )
    with net:
        net.blobs["s"].data[...] = [0, 1]
        net.forward()
        net.blobs["y"].diff.fill(1)
        net.backward()
        assert net.blobs["x"].diff.tolist() == [[0], [1]]
