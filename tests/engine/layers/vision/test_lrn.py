import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.engine.layers.vision import lrn
from farlayer.protos.errors import NetError
from tests.engine.support import (
    assert_nothing_is_allocated,
    assert_untouched,
    layer_of,
    random_blob,
    run,
    untouched,
)

REGIONS = ["ACROSS_CHANNELS", "WITHIN_CHANNEL"]
CASES = {
    "defaults": ((2, 7, 3, 4), ""),
    "three": ((2, 5, 4, 3), "local_size: 3 alpha: 0.5 beta: 0.6"),
    "only itself": ((1, 3, 3, 3), "local_size: 1 alpha: 2"),
    "k": ((2, 4, 3, 3), "local_size: 3 k: 2.5 alpha: 0.3"),
    "larger than everything": ((2, 3, 2, 2), "local_size: 9"),
}


def text(region: str, options: str) -> str:
    return f'type: "LRN" lrn_param {{ norm_region: {region} {options} }}'


def normalized(x: np.ndarray, param: object, *, within: bool) -> np.ndarray:
    """Place by place, in double precision."""
    x = x.astype(np.float64)
    reach = param.local_size // 2  # type: ignore[attr-defined]
    y = np.empty_like(x)
    for n, c, h, w in np.ndindex(x.shape):
        if within:
            rows, columns = slice(max(h - reach, 0), h + reach + 1), slice(max(w - reach, 0), w + reach + 1)
            around, k, count = x[n, c, rows, columns], 1.0, param.local_size**2  # type: ignore[attr-defined]
        else:
            around = x[n, max(c - reach, 0) : c + reach + 1, h, w]
            k, count = param.k, param.local_size  # type: ignore[attr-defined]
        y[n, c, h, w] = x[n, c, h, w] * (k + param.alpha / count * (around**2).sum()) ** -param.beta  # type: ignore[attr-defined]
    return y


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("case", CASES)
def test_each_value_is_divided_by_what_is_around_it(region: str, case: str) -> None:
    shape, options = CASES[case]
    layer = layer_of(text(region, options))
    bottom = random_blob(*shape)
    (top,) = run(layer, [bottom])
    expected = normalized(bottom.data, layer.param.lrn_param, within=region == "WITHIN_CHANNEL")
    np.testing.assert_allclose(top.data, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_right(region: str, case: str) -> None:
    shape, options = CASES[case]
    diff = random_blob(*shape, seed=5).data
    checker = GradientChecker(threshold=2e-3)
    assert checker.check(layer_of(text(region, options)), [random_blob(*shape)], [Blob()], top_diffs=[diff])


@pytest.mark.parametrize("region", REGIONS)
def test_every_entry_of_the_jacobian_is_right(region: str) -> None:
    layer = layer_of(text(region, "local_size: 3"))
    assert GradientChecker(threshold=2e-3).check(layer, [random_blob(1, 4, 3, 2)], [Blob()])


@pytest.mark.parametrize("region", REGIONS)
def test_parts_give_the_same_as_the_whole(region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for bound in (1, 50, 1 << 18):
        monkeypatch.setattr(lrn, "_PART_VALUES", bound)
        bottom = random_blob(3, 7, 5, 4)
        layer = layer_of(text(region, "local_size: 3"))
        (top,) = run(layer, [bottom])
        top.diff[...] = random_blob(*top.shape, seed=3).data
        layer.backward([top], [True], [bottom])
        results.append((top.data, bottom.diff))
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


@pytest.mark.parametrize("region", REGIONS)
def test_a_batch_without_samples_passes(region: str) -> None:
    bottom = random_blob(0, 2, 3, 3)
    layer = layer_of(text(region, ""))
    top = run(layer, [bottom])
    layer.backward(top, [True], [bottom])
    assert top[0].shape == (0, 2, 3, 3)


@pytest.mark.parametrize("region", REGIONS)
def test_without_propagate_down_the_diff_stays(region: str) -> None:
    bottom = random_blob(1, 3, 2, 2)
    layer = layer_of(text(region, ""))
    top = run(layer, [bottom])
    untouched(bottom)
    layer.backward(top, [False], [bottom])
    assert_untouched(bottom)


@pytest.mark.parametrize("region", REGIONS)
def test_a_steady_state_allocates_nothing(region: str) -> None:
    assert_nothing_is_allocated(layer_of(text(region, "")), [random_blob(4, 16, 64, 64)])


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1, 2, 3, 3), "local_size: 4", "local_size is 4, expected an odd number"),
        ((1, 2, 3, 3), "local_size: 0", "local_size is 0, expected an odd number"),
        ((2, 3, 3), "", r"bottom shape \(2, 3, 3\) has 3 axes, expected 4"),
    ],
)
@pytest.mark.parametrize("region", REGIONS)
def test_parameters_that_do_not_fit_are_refused(
    region: str, shape: tuple[int, ...], options: str, message: str
) -> None:
    with pytest.raises(NetError, match=message) as caught:
        run(layer_of(text(region, options)), [random_blob(*shape)])
    assert caught.value.layer == "l"
