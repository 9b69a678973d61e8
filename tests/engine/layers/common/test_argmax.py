import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

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


def text(options: str = "") -> str:
    return f'type: "ArgMax" argmax_param {{ {options} }}'


def best(values: list[float], top_k: int) -> list[tuple[float, int]]:
    """Value and index, sorted as Caffe sorts pairs: the largest first, of equal ones the larger index first."""
    return sorted(((value, index) for index, value in enumerate(values)), reverse=True)[:top_k]


FEW_VALUES = st.sampled_from([-np.inf, -2.5, -0.25, -0.0, 0.0, 1.0, 3.0, np.inf])


@st.composite
def batches(draw: st.DrawFn) -> tuple[np.ndarray, int, int]:
    """Values with many equal ones, an axis and a top_k for it."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=5))
    axis = draw(st.integers(0, len(shape) - 1))
    return draw(hnp.arrays(np.float32, shape, elements=FEW_VALUES)), axis, draw(st.integers(1, shape[axis]))


@given(batches())
@settings(max_examples=40, deadline=None)
def test_along_an_axis_the_best_come_in_the_order_of_caffe(batch: tuple[np.ndarray, int, int]) -> None:
    values, axis, top_k = batch
    options = f"axis: {axis} top_k: {top_k}"
    (indices,) = run(layer_of(text(options)), [blob_of(values)])
    (maxima,) = run(layer_of(text(f"{options} out_max_val: true")), [blob_of(values)])
    assert indices.shape == maxima.shape == (*values.shape[:axis], top_k, *values.shape[axis + 1 :])
    for place in np.ndindex(*values.shape[:axis], *values.shape[axis + 1 :]):
        line = (*place[:axis], slice(None), *place[axis:])
        expected = best(values[line].tolist(), top_k)
        assert indices.data[line].tolist() == [index for _, index in expected]
        assert maxima.data[line].tolist() == [value for value, _ in expected]


@pytest.mark.parametrize("top_k", [1, 3, 24])
def test_without_an_axis_each_sample_is_searched_as_a_whole(top_k: int) -> None:
    bottom = random_blob(2, 4, 3, 2)
    (indices,) = run(layer_of(text(f"top_k: {top_k}")), [bottom])
    (both,) = run(layer_of(text(f"top_k: {top_k} out_max_val: true")), [bottom])
    assert indices.shape == (2, 1, top_k, 1)
    assert both.shape == (2, 2, top_k, 1)
    for sample in range(2):
        expected = best(bottom.data[sample].ravel().tolist(), top_k)
        assert indices.data[sample, 0, :, 0].tolist() == [index for _, index in expected]
        assert both.data[sample, 0, :, 0].tolist() == [index for _, index in expected]
        assert both.data[sample, 1, :, 0].tolist() == [value for value, _ in expected]


@pytest.mark.parametrize(
    ("shape", "expected"), [((3, 7), (3, 1, 1)), ((3, 7, 2), (3, 1, 1)), ((3, 2, 2, 2, 2), (3, 1, 1, 1, 1))]
)
def test_the_top_has_no_fewer_than_three_axes(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    (top,) = run(layer_of(text()), [random_blob(*shape)])
    assert top.shape == expected


def test_a_negative_axis_counts_from_the_end() -> None:
    (top,) = run(layer_of(text("axis: -2")), [blob_of([[1, 5], [3, 2]])])
    assert top.data.tolist() == [[1, 0]]


def test_a_nan_is_more_than_any_number() -> None:
    (top,) = run(layer_of(text("top_k: 2")), [blob_of([[1, np.nan, np.inf]])])
    assert top.data.ravel().tolist() == [1, 2]


@pytest.mark.parametrize("options", ["", "out_max_val: true", "axis: 1", "axis: 1 top_k: 2"])
def test_an_empty_batch_passes(options: str) -> None:
    (top,) = run(layer_of(text(options)), [random_blob(0, 4)])
    assert top.count == 0


def test_the_bottom_may_change_its_shape() -> None:
    bottom = random_blob(2, 4)
    layer = layer_of(text())
    top = run(layer, [bottom])
    bottom.reshape(5, 6)
    bottom.data[...] = np.arange(30).reshape(5, 6)
    layer.run_forward([bottom], top)
    assert top[0].data.ravel().tolist() == [5] * 5


@pytest.mark.parametrize("options", ["top_k: 5", "top_k: 5 out_max_val: true", "axis: 1", "axis: 1 top_k: 3"])
def test_a_steady_state_allocates_nothing(options: str) -> None:
    assert_nothing_is_allocated(layer_of(text(options)), [random_blob(128, 70, 70)], backward=False)


@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        ("top_k: 0", (2, 3), r"top_k is 0, but bottom shape \(2, 3\) gives 3 values"),
        ("top_k: 4", (2, 3), "top_k is 4.*3 values"),
        ("top_k: 3 axis: 0", (2, 3), "top_k is 3.*2 values"),
        ("", (2, 0), "top_k is 1.*0 values"),
        ("axis: 2", (2, 3), r"argmax_param.axis is 2.*\(2, 3\)"),
        ("axis: -3", (2, 3), "argmax_param.axis is -3"),
        ("", (), r"argmax_param.axis is 0.*shape \(\)"),
    ],
)
def test_what_cannot_be_is_refused(options: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(NetError, match=message):
        run(layer_of(text(options)), [random_blob(*shape)])


def test_it_has_no_gradient() -> None:
    bottom = random_blob(2, 3)
    layer = layer_of(text())
    top = run(layer, [bottom])
    untouched(bottom)
    layer.run_backward(top, [False], [bottom])
    assert_untouched(bottom)
    with pytest.raises(NetError, match="no gradient"):
        layer.run_backward(top, [True], [bottom])


def test_force_backward_leaves_it_out() -> None:
    net = native_net(
        'force_backward: true layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } } '
        'layer { name: "best" type: "ArgMax" bottom: "x" top: "y" }'
    )
    with net:
        net.forward()
        net.backward()
        assert net.nodes[1].propagate_down == [False]
