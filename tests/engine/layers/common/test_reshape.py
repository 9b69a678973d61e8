import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos.errors import NetError
from tests.engine.support import layer_of, random_blob, run


def text(dims: tuple[int, ...], options: str = "") -> str:
    shape = " ".join(f"dim: {dim}" for dim in dims)
    return f'type: "Reshape" reshape_param {{ shape {{ {shape} }} {options} }}'


@pytest.mark.parametrize(
    ("dims", "options", "expected"),
    [
        ((6, 4), "", (6, 4)),
        ((0, -1), "", (2, 12)),
        ((-1,), "", (24,)),
        ((0, 0, 0), "", (2, 3, 4)),
        ((-1, 0), "", (8, 3)),
        ((0, -1, 2), "", (2, 6, 2)),
        ((12,), "axis: 1", (2, 12)),
        ((-1,), "axis: 1 num_axes: 1", (2, 3, 4)),
        ((1,), "axis: 1 num_axes: 0", (2, 1, 3, 4)),
        ((1, -1), "axis: 0 num_axes: 2", (1, 6, 4)),
        ((1,), "axis: -1", (2, 3, 4, 1)),
        ((2, 2), "axis: -2", (2, 3, 2, 2)),
        ((2, 2), "axis: -2 num_axes: 1", (2, 3, 2, 2)),
        ((), "axis: 3", (2, 3, 4)),
        ((0, 2, 2), "axis: 1", (2, 3, 2, 2)),
        ((1, -1, 1), "axis: 3 num_axes: 0", (2, 3, 4, 1, 1, 1)),
    ],
)
def test_the_axes_are_replaced_by_the_shape(dims: tuple[int, ...], options: str, expected: tuple[int, ...]) -> None:
    bottom = random_blob(2, 3, 4)
    (top,) = run(layer_of(text(dims, options)), [bottom])
    assert top.shape == expected
    np.testing.assert_array_equal(top.data.ravel(), bottom.data.ravel())


@pytest.mark.parametrize(("shape", "dims", "expected"), [((), (1, 1), (1, 1)), ((1,), (), ()), ((1, 1), (-1,), (1,))])
def test_one_value_may_have_any_number_of_axes(
    shape: tuple[int, ...], dims: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    (top,) = run(layer_of(text(dims)), [random_blob(*shape)])
    assert top.shape == expected


@pytest.mark.parametrize(
    ("dims", "options", "expected"),
    [
        ((0, -1), "", (0, 12)),
        ((-1, 0), "axis: 1", (0, 3, 4)),
        ((0, 2, -1), "", (0, 2, 6)),
        ((-1, 12), "", (0, 12)),
        ((0, 12), "", (0, 12)),
    ],
)
def test_an_empty_batch_gets_the_axes_that_a_full_one_would(
    dims: tuple[int, ...], options: str, expected: tuple[int, ...]
) -> None:
    (top,) = run(layer_of(text(dims, options)), [random_blob(0, 3, 4)])
    assert top.shape == expected


@pytest.mark.parametrize(("dims", "options"), [((0, -1), ""), ((3, 2), "axis: 1")])
def test_the_gradient_is_right(dims: tuple[int, ...], options: str) -> None:
    assert GradientChecker().check(layer_of(text(dims, options)), [random_blob(2, 2, 3)], [Blob()])


@pytest.mark.parametrize(
    ("dims", "options", "message"),
    [
        ((-1, -1), "", r"has the dims \[-1, -1\]: at most one may be -1"),
        ((-2, 6), "", r"has the dims \[-2, 6\]"),
        ((5,), "", r"bottom shape \(2, 3\) has 6 values, the new shape \(5,\) has 5"),
        ((2, 2), "axis: 1", r"the new shape \(2, 2, 2\) has 8"),
        ((4, -1), "", r"the axes that are replaced, \(2, 3\), have 6 values.*\[4\]"),
        ((0, 0, 0), "", r"has a 0 for axis 2, but bottom shape \(2, 3\) has no such axis"),
        ((1,), "axis: 3", r"reshape_param.axis is 3, but bottom shape \(2, 3\) has 2 axes"),
        ((1,), "axis: -4", "reshape_param.axis is -4"),
        ((6,), "num_axes: 3", "num_axes is 3 from axis 0 on"),
        ((6,), "axis: 1 num_axes: 2", "num_axes is 2 from axis 1 on"),
        ((6,), "num_axes: -2", "num_axes is -2"),
    ],
)
def test_what_cannot_be_is_refused(dims: tuple[int, ...], options: str, message: str) -> None:
    with pytest.raises(NetError, match=message):
        run(layer_of(text(dims, options)), [random_blob(2, 3)])


def test_a_rest_is_refused_in_an_empty_batch_too() -> None:
    with pytest.raises(NetError, match="do not divide"):
        run(layer_of(text((0, 5, -1))), [random_blob(0, 3, 4)])
