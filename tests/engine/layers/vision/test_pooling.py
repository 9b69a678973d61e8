from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.engine.layers.vision import pool_methods
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError
from tests.engine.support import (
    assert_nothing_is_allocated,
    assert_untouched,
    blob_of,
    distinct_blob,
    layer_of,
    random_blob,
    run,
    untouched,
)

GEOMETRIES = {
    "2x2": ((2, 2, 4, 6), dict(kernel=(2, 2), stride=(2, 2))),
    "overlapping": ((1, 2, 7, 8), dict(kernel=(3, 3), stride=(2, 2))),
    "padded": ((2, 1, 6, 5), dict(kernel=(3, 3), stride=(2, 2), pad=(1, 1))),
    "last window dropped": ((1, 1, 4, 4), dict(kernel=(2, 2), stride=(2, 2), pad=(1, 1))),
    "uneven": ((1, 2, 5, 9), dict(kernel=(2, 4), stride=(1, 3), pad=(1, 0))),
    "rounded down": ((1, 2, 8, 7), dict(kernel=(3, 2), stride=(2, 3), floor=True)),
    "stride over the kernel": ((1, 1, 7, 7), dict(kernel=(1, 2), stride=(3, 3))),
}


def text(
    pool: str, kernel: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int] = (0, 0), floor: bool = False
) -> str:
    sides = " ".join(
        f"{name}_h: {value[0]} {name}_w: {value[1]}"
        for name, value in (("kernel", kernel), ("stride", stride), ("pad", pad))
    )
    return f'type: "Pooling" pooling_param {{ pool: {pool} {sides} {"round_mode: FLOOR" if floor else ""} }}'


def windows(
    shape: tuple[int, ...],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int] = (0, 0),
    floor: bool = False,
) -> Iterator[tuple[tuple[int, int], list[slice], int]]:
    """For each window its place, the rows and columns of the image in it, and its size with the padding."""
    counts = []
    for axis in (0, 1):
        size = shape[2 + axis] + 2 * pad[axis] - kernel[axis]
        count = (size // stride[axis] if floor else -(-size // stride[axis])) + 1
        if any(pad) and (count - 1) * stride[axis] >= shape[2 + axis] + pad[axis]:
            count -= 1
        counts.append(count)
    for row in range(counts[0]):
        for column in range(counts[1]):
            spans, sizes = [], []
            for axis, at in ((0, row), (1, column)):
                start = at * stride[axis] - pad[axis]
                end = min(start + kernel[axis], shape[2 + axis] + pad[axis])
                sizes.append(end - start)
                spans.append(slice(max(start, 0), min(end, shape[2 + axis])))
            yield (row, column), spans, sizes[0] * sizes[1]


@pytest.mark.parametrize("case", GEOMETRIES)
def test_max_takes_the_largest_value_of_each_window_and_its_place(case: str) -> None:
    shape, geometry = GEOMETRIES[case]
    bottom = distinct_blob(*shape)
    top, mask = run(layer_of(text("MAX", **geometry)), [bottom], num_top=2)
    places = np.arange(shape[2] * shape[3]).reshape(shape[2:])
    seen = 0
    for (row, column), (rows, columns), _ in windows(shape, **geometry):
        region = bottom.data[:, :, rows, columns].reshape(*shape[:2], -1)
        np.testing.assert_array_equal(top.data[:, :, row, column], region.max(axis=2))
        expected = places[rows, columns].ravel()[region.argmax(axis=2)]
        np.testing.assert_array_equal(mask.data[:, :, row, column], expected)
        seen += 1
    assert seen == top.shape[2] * top.shape[3]


@pytest.mark.parametrize("case", GEOMETRIES)
def test_ave_divides_by_the_window_with_its_padding(case: str) -> None:
    shape, geometry = GEOMETRIES[case]
    bottom = random_blob(*shape)
    (top,) = run(layer_of(text("AVE", **geometry)), [bottom])
    for (row, column), (rows, columns), size in windows(shape, **geometry):
        expected = bottom.data[:, :, rows, columns].sum(axis=(2, 3)) / size
        np.testing.assert_allclose(top.data[:, :, row, column], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize("case", GEOMETRIES)
def test_the_gradient_is_right(pool: str, case: str) -> None:
    shape, geometry = GEOMETRIES[case]
    assert GradientChecker().check(layer_of(text(pool, **geometry)), [distinct_blob(*shape)], [Blob()])


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
def test_a_batch_in_parts_gives_the_same_as_the_whole(pool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for bound in (1, 120, 1 << 18):  # one plane a part, parts with a rest, the largest parts
        monkeypatch.setattr(pool_methods, "_PART_VALUES", bound)
        bottom = distinct_blob(5, 2, 5, 5)
        layer = layer_of(text(pool, (3, 3), (2, 2)))
        (top,) = run(layer, [bottom])
        top.diff[...] = random_blob(*top.shape, seed=3).data
        layer.backward([top], [True], [bottom])
        results.append((top.data, bottom.diff))
    for other in results[1:]:
        np.testing.assert_array_equal(other[0], results[0][0])
        np.testing.assert_array_equal(other[1], results[0][1])


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
    st.tuples(st.integers(0, 6), st.integers(0, 6)),
    st.sampled_from(["some", "rarely", "never"]),
)
def test_maxima_are_caffes_whatever_the_values(
    kernel: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int], more: tuple[int, int], strange: str
) -> None:
    """Ties, infinities and NaN: as a loop that starts from the lowest value and takes what is larger."""
    pad = tuple(min(p, k - 1) for p, k in zip(pad, kernel, strict=True))
    rng = np.random.default_rng(sum((*kernel, *more)))
    shape = (2, 2, kernel[0] + more[0], kernel[1] + more[1])
    image = rng.integers(-2, 3, shape).astype(np.float32)
    share = {"some": 0.4, "rarely": 0.05, "never": 0.0}[strange]
    for value in (np.nan, -np.inf, np.inf, np.finfo(np.float32).min):
        image[rng.random(shape) < share] = value
    top, mask = run(layer_of(text("MAX", kernel, stride, pad)), [blob_of(image)], num_top=2)
    for n, c in np.ndindex(shape[:2]):
        for (row, column), (rows, columns), _ in windows(shape, kernel, stride, pad):
            best, place = np.finfo(np.float32).min, -1
            for h in range(rows.start, rows.stop):
                for w in range(columns.start, columns.stop):
                    if image[n, c, h, w] > best:
                        best, place = image[n, c, h, w], h * shape[3] + w
            assert top.data[n, c, row, column] == best
            assert mask.data[n, c, row, column] == place


def test_a_window_without_a_maximum_passes_no_gradient_on() -> None:
    image = np.float32([[[[np.nan, -np.inf, 1, 2], [-np.inf, np.nan, 3, 4]]]])
    layer = layer_of(text("MAX", (2, 2), (2, 2)))
    bottom = blob_of(image)
    (top,) = run(layer, [bottom])
    top.diff[...] = [[[[5, 6]]]]
    layer.backward([top], [True], [bottom])
    np.testing.assert_array_equal(bottom.diff, [[[[0, 0, 0, 0], [0, 0, 0, 6]]]])


def test_a_kernel_of_many_elements_finds_its_maximum() -> None:
    bottom = distinct_blob(1, 2, 20, 21)  # 17 x 18 elements have numbers of two bytes
    top, mask = run(layer_of(text("MAX", (17, 18), (1, 1))), [bottom], num_top=2)
    for row, column in np.ndindex(top.shape[2:]):
        region = bottom.data[:, :, row : row + 17, column : column + 18].reshape(1, 2, -1)
        np.testing.assert_array_equal(top.data[:, :, row, column], region.max(axis=2))
        h, w = np.divmod(region.argmax(axis=2), 18)
        np.testing.assert_array_equal(mask.data[:, :, row, column], (h + row) * 21 + w + column)


@pytest.mark.parametrize("pool", ["MAX", "AVE", "STOCHASTIC"])
@pytest.mark.parametrize("fields", ["kernel_size: 3 stride: 2", "kernel_size: 2 stride: 2", "global_pooling: true"])
def test_a_steady_state_allocates_nothing(pool: str, fields: str) -> None:
    bottom = blob_of(np.abs(random_blob(8, 16, 48, 48).data))
    assert_nothing_is_allocated(layer_of(f'type: "Pooling" pooling_param {{ pool: {pool} {fields} }}'), [bottom])


def test_the_ceil_mode_of_forks_rounds_down_where_it_is_false() -> None:
    for fields, size in (("", 3), ("ceil_mode: true", 3), ("ceil_mode: false", 2), ("round_mode: FLOOR", 2)):
        layer = layer_of(f'type: "Pooling" pooling_param {{ kernel_size: 2 stride: 2 {fields} }}')
        (top,) = run(layer, [random_blob(1, 1, 5, 5)])
        assert top.shape == (1, 1, size, size)


def test_with_a_mask_the_gradient_is_the_same() -> None:
    bottom = distinct_blob(2, 2, 5, 5)
    layers = [layer_of(text("MAX", (3, 3), (2, 2))) for _ in range(2)]
    diffs = []
    for num_top, layer in enumerate(layers, start=1):
        tops = run(layer, [bottom], num_top)
        tops[0].diff[...] = random_blob(*tops[0].shape).data
        layer.backward(tops, [True], [bottom])
        diffs.append(bottom.diff.copy())
    np.testing.assert_array_equal(*diffs)


def test_of_equal_maxima_the_first_counts() -> None:
    bottom = blob_of(np.ones((1, 1, 2, 2)))
    layer = layer_of(text("MAX", (2, 2), (2, 2)))
    top, mask = run(layer, [bottom], num_top=2)
    top.diff.fill(3)
    layer.backward([top, mask], [True], [bottom])
    assert mask.data.item() == 0
    np.testing.assert_array_equal(bottom.diff, [[[[3, 0], [0, 0]]]])


@pytest.mark.parametrize(("pool", "expected"), [("MAX", np.max), ("AVE", np.mean)])
def test_global_pooling_takes_the_whole_image_whatever_its_size(pool: str, expected: np.ufunc) -> None:
    layer = layer_of(f'type: "Pooling" pooling_param {{ pool: {pool} global_pooling: true }}')
    bottom = random_blob(2, 3, 4, 5)
    top = run(layer, [bottom])
    for size in (6, 3):
        image = random_blob(2, 3, size, size, seed=size)
        bottom.reshape(image.shape)
        bottom.data[...] = image.data
        layer.run_forward([bottom], top)
        np.testing.assert_allclose(top[0].data[..., 0, 0], expected(image.data, axis=(2, 3)), rtol=1e-5)


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
def test_in_a_batch_without_samples_nothing_is_pooled(pool: str) -> None:
    bottom = random_blob(0, 2, 4, 4)
    layer = layer_of(text(pool, (2, 2), (2, 2)))
    top = run(layer, [bottom])
    layer.backward(top, [True], [bottom])
    assert top[0].shape == (0, 2, 2, 2)


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
def test_without_propagate_down_the_diff_stays(pool: str) -> None:
    bottom = random_blob(1, 1, 4, 4)
    layer = layer_of(text(pool, (2, 2), (2, 2)))
    top = run(layer, [bottom])
    untouched(bottom)
    layer.backward(top, [False], [bottom])
    assert_untouched(bottom)


def test_stochastic_pooling_draws_values_in_proportion_to_their_size() -> None:
    image = np.tile(np.float32([[1, 2], [0, 5]]), (1, 1, 100, 100))
    layer = layer_of(text("STOCHASTIC", (2, 2), (2, 2)))
    (top,) = run(layer, [blob_of(image)])
    share = {value: float((top.data == value).mean()) for value in (0, 1, 2, 5)}
    assert sum(share.values()) == 1
    assert share[0] == 0
    assert share[1] == pytest.approx(1 / 8, abs=0.02)
    assert share[2] == pytest.approx(2 / 8, abs=0.02)
    assert share[5] == pytest.approx(5 / 8, abs=0.02)


def test_stochastic_pooling_passes_the_gradient_to_the_value_that_it_drew() -> None:
    bottom = blob_of(np.abs(distinct_blob(1, 2, 4, 4).data) + 1)
    layer = layer_of(text("STOCHASTIC", (2, 2), (2, 2)))
    (top,) = run(layer, [bottom])
    top.diff[...] = np.arange(1, 9).reshape(1, 2, 2, 2)
    layer.backward([top], [True], [bottom])
    assert np.count_nonzero(bottom.diff) == 8
    chosen = bottom.diff != 0
    assert set(bottom.data[chosen]) == set(top.data.ravel())
    np.testing.assert_array_equal(np.sort(bottom.diff[chosen]), np.arange(1, 9))


def test_stochastic_pooling_in_a_test_net_is_the_weighted_mean() -> None:
    layer = layer_of(text("STOCHASTIC", (2, 2), (2, 2)), phase=caffe_pb2.TEST)
    (top,) = run(layer, [blob_of([[[[1, 2], [0, 5]]]])])
    assert top.data.item() == pytest.approx((1 + 4 + 25) / 8)


@pytest.mark.parametrize(
    ("shape", "fields", "message"),
    [
        ((1, 1, 4, 4), "", "the kernel must be given"),
        ((1, 1, 4, 4), "kernel_h: 2", "the kernel must be given"),
        ((1, 1, 4, 4), "kernel_size: 2 kernel_h: 2 kernel_w: 2", "the kernel must be given"),
        ((1, 1, 4, 4), "kernel_size: 0", r"kernel \(0, 0\)"),
        ((1, 1, 4, 4), "kernel_size: 2 stride: 0", r"stride \(0, 0\) is 0"),
        ((1, 1, 4, 4), "kernel_size: 2 stride: 1 stride_h: 1 stride_w: 1", "stride must be given either"),
        ((1, 1, 4, 4), "kernel_size: 2 pad_h: 1", "pad must be given either"),
        ((1, 1, 4, 4), "kernel_size: 2 pad: 2", r"pad \(2, 2\) is not smaller than the kernel \(2, 2\)"),
        ((1, 1, 4, 4), "kernel_size: 2 global_pooling: true", "both a kernel size and global_pooling"),
        ((1, 1, 4, 4), "global_pooling: true stride: 2", "global_pooling with pad"),
        ((1, 1, 4, 4), "kernel_size: 2 pad: 1 pool: STOCHASTIC", "padding is given, but pool is STOCHASTIC"),
        ((1, 4, 4), "kernel_size: 2", "3 axes, expected 4"),
        ((1, 1, 0, 4), "global_pooling: true", r"image size \(0, 4\)"),
        ((1, 1, 2, 2), "kernel_size: 5", r"image size \(2, 2\) is smaller than the kernel \(5, 5\)"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(shape: tuple[int, ...], fields: str, message: str) -> None:
    with pytest.raises(NetError, match=message) as caught:
        run(layer_of(f'type: "Pooling" pooling_param {{ {fields} }}'), [random_blob(*shape)])
    assert caught.value.layer == "l"


def test_a_mask_of_averages_is_refused() -> None:
    with pytest.raises(NetError, match="pool is not MAX"):
        run(layer_of(text("AVE", (2, 2), (2, 2))), [random_blob(1, 1, 4, 4)], num_top=2)


def test_beside_kernel_size_one_side_alone_does_not_count() -> None:
    layer = layer_of('type: "Pooling" pooling_param { kernel_size: 2 kernel_h: 3 }')
    (top,) = run(layer, [random_blob(1, 1, 4, 4)])
    assert top.shape == (1, 1, 3, 3)
