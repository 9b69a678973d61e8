import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos.errors import NetError
from tests.engine.support import assert_nothing_is_allocated, assert_untouched, layer_of, random_blob, run, untouched


def text(options: str = "") -> str:
    return f'type: "Slice" slice_param {{ {options} }}'


@given(st.lists(st.integers(0, 3), min_size=3, max_size=3), st.integers(-3, 2), st.lists(st.integers(1, 3), min_size=1))
@settings(max_examples=40, deadline=None)
def test_the_bottom_is_cut_at_the_slice_points(shape: list[int], axis: int, sizes: list[int]) -> None:
    shape[axis] = sum(sizes)
    points = np.cumsum(sizes)[:-1]
    bottom = random_blob(*shape)
    layer = layer_of(text(f"axis: {axis} " + " ".join(f"slice_point: {point}" for point in points)))
    top = run(layer, [bottom], num_top=len(sizes))
    for blob, expected in zip(top, np.split(bottom.data, points, axis=axis), strict=True):
        np.testing.assert_array_equal(blob.data, expected)
        blob.diff[...] = random_blob(*blob.shape, seed=len(blob.shape)).data
    layer.run_backward(top, [True], [bottom])
    np.testing.assert_array_equal(bottom.diff, np.concatenate([blob.diff for blob in top], axis=axis))


@pytest.mark.parametrize("options", ["", "slice_dim: 1", "axis: 1", "axis: -2"])
def test_without_slice_points_the_parts_are_equal(options: str) -> None:
    bottom = random_blob(2, 6, 2)
    tops = run(layer_of(text(options)), [bottom], num_top=3)
    np.testing.assert_array_equal(np.concatenate([top.data for top in tops], axis=1), bottom.data)
    assert [top.shape for top in tops] == [(2, 2, 2)] * 3


def test_the_last_part_may_be_empty() -> None:
    tops = run(layer_of(text("slice_point: 3")), [random_blob(2, 3)], num_top=2)
    assert [top.shape for top in tops] == [(2, 3), (2, 0)]


@pytest.mark.parametrize(("options", "num_top"), [("axis: 0", 2), ("slice_point: 1 slice_point: 3", 3), ("", 1)])
def test_the_gradient_is_right(options: str, num_top: int) -> None:
    tops = [Blob() for _ in range(num_top)]
    assert GradientChecker().check(layer_of(text(options)), [random_blob(2, 4, 2)], tops)


def test_a_single_top_is_the_memory_of_the_bottom() -> None:
    bottom = random_blob(2, 3)
    (top,) = run(layer_of(text()), [bottom])
    assert np.shares_memory(top.data, bottom.data)
    assert np.shares_memory(top.diff, bottom.diff)


def test_an_empty_batch_passes() -> None:
    bottom = random_blob(0, 4)
    layer = layer_of(text())
    top = run(layer, [bottom], num_top=2)
    layer.run_backward(top, [True], [bottom])
    assert [blob.shape for blob in top] == [(0, 2), (0, 2)]


@pytest.mark.parametrize("num_top", [2, 4])
def test_without_propagate_down_the_diff_stays(num_top: int) -> None:
    bottom = random_blob(2, 4)
    layer = layer_of(text())
    top = run(layer, [bottom], num_top)
    untouched(bottom)
    layer.run_backward(top, [False], [bottom])
    assert_untouched(bottom)


def test_the_bottom_may_change_its_shape() -> None:
    bottom = random_blob(2, 4)
    layer = layer_of(text("slice_point: 1"))
    top = run(layer, [bottom], num_top=2)
    bottom.reshape(3, 5)
    bottom.data[...] = range(5)
    layer.run_forward([bottom], top)
    assert top[0].data.tolist() == [[0]] * 3
    assert top[1].data.tolist() == [[1, 2, 3, 4]] * 3


@pytest.mark.parametrize("axis", [0, 1, 3])
def test_a_steady_state_allocates_nothing(axis: int) -> None:
    assert_nothing_is_allocated(layer_of(text(f"axis: {axis}")), [random_blob(4, 8, 32, 32)], num_top=2)


@pytest.mark.parametrize(
    ("options", "num_top", "message"),
    [
        ("axis: 1 slice_dim: 1", 1, "both axis and slice_dim are given"),
        ("axis: 2", 1, r"axis is 2.*\(2, 6\)"),
        ("slice_dim: 2", 1, "slice_dim is 2"),
        ("", 4, "axis 1 of size 6 cannot be cut into 4 equal parts"),
        ("slice_point: 2", 3, r"1 slice_point\(s\) for 3 top\(s\), expected 2"),
        ("slice_point: 2", 1, r"1 slice_point\(s\) for 1 top\(s\), expected 0"),
        ("slice_point: 0", 2, r"slice_points \[0\] do not cut axis 1 of size 6 into 2 parts"),
        ("slice_point: 7", 2, r"slice_points \[7\] do not cut"),
        ("slice_point: 3 slice_point: 3", 3, r"slice_points \[3, 3\] do not cut"),
        ("slice_point: 4 slice_point: 2", 3, r"slice_points \[4, 2\] do not cut"),
        ("axis: 0 slice_point: 1 slice_point: 2", 3, r"slice_points \[1, 2\] do not cut axis 0 of size 2 into 3 parts"),
        ("", 0, "at least 1 top"),
    ],
)
def test_what_cannot_be_is_refused(options: str, num_top: int, message: str) -> None:
    with pytest.raises(NetError, match=message):
        run(layer_of(text(options)), [random_blob(2, 6)], num_top)
