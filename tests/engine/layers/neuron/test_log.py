import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos.errors import NetError
from tests.engine.support import blob_of, layer_of, random_blob, run

CASES = {
    "": (np.e, 1, 0),
    "base: 2": (2, 1, 0),
    "scale: 3": (np.e, 3, 0),
    "shift: 1": (np.e, 1, 1),
    "base: 0.5 scale: 3 shift: 1": (0.5, 3, 1),
}


def text(fields: str) -> str:
    return f'type: "Log" log_param {{ {fields} }}'


def positive(*shape: int) -> Blob:
    return blob_of(np.abs(random_blob(*shape).data) + 0.5)


@pytest.mark.parametrize("fields", CASES)
def test_forward_is_the_logarithm_of_a_linear_function(fields: str) -> None:
    base, scale, shift = CASES[fields]
    bottom = positive(3, 4)
    (top,) = run(layer_of(text(fields)), [bottom])
    expected = np.log(shift + scale * bottom.data.astype(np.float64)) / np.log(base)
    np.testing.assert_allclose(top.data, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("fields", CASES)
def test_the_gradient_is_right(fields: str) -> None:
    assert GradientChecker().check(layer_of(text(fields)), [positive(2, 3)], [Blob()])


def test_what_has_no_logarithm_becomes_nan_or_infinite_without_a_warning() -> None:
    (top,) = run(layer_of(text("")), [blob_of([-1, 0])])
    assert np.isnan(top.data[0])
    assert top.data[1] == -np.inf


@pytest.mark.parametrize(
    ("base", "message"),
    [("0", "expected more than 0"), ("-2", "expected more than 0"), ("inf", "finite"), ("1", "has no logarithms")],
)
def test_a_base_that_makes_no_logarithm_is_refused(base: str, message: str) -> None:
    with pytest.raises(NetError, match=rf"layer 'l' \(Log\): log_param.base is {base}.*{message}"):
        run(layer_of(text(f"base: {base}")), [random_blob(2)])
