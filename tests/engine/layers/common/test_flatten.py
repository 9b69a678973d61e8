import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos.errors import NetError
from tests.engine.support import layer_of, random_blob, run


def text(options: str = "") -> str:
    return f'type: "Flatten" flatten_param {{ {options} }}'


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ("", (2, 60)),
        ("axis: 2", (2, 3, 20)),
        ("axis: 0", (120,)),
        ("axis: -2", (2, 3, 20)),
        ("end_axis: 2", (2, 12, 5)),
        ("axis: 0 end_axis: -2", (24, 5)),
        ("axis: 1 end_axis: 1", (2, 3, 4, 5)),
        ("axis: 2 end_axis: 1", (2, 3, 1, 4, 5)),
    ],
)
def test_the_axes_from_axis_to_end_axis_become_one(options: str, shape: tuple[int, ...]) -> None:
    bottom = random_blob(2, 3, 4, 5)
    (top,) = run(layer_of(text(options)), [bottom])
    assert top.shape == shape
    np.testing.assert_array_equal(top.data.ravel(), bottom.data.ravel())


@pytest.mark.parametrize("options", ["", "end_axis: 1"])
def test_the_gradient_is_right(options: str) -> None:
    assert GradientChecker().check(layer_of(text(options)), [random_blob(2, 2, 3)], [Blob()])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("axis: 3", r"flatten_param.axis is 3.*\(2, 3, 4\)"),
        ("end_axis: 3", "flatten_param.end_axis is 3"),
        ("end_axis: -4", "flatten_param.end_axis is -4"),
        ("axis: 2 end_axis: 0", r"end_axis is 0, before axis 2 of a blob of shape \(2, 3, 4\)"),
    ],
)
def test_axes_that_cannot_be_are_refused(options: str, message: str) -> None:
    with pytest.raises(NetError, match=message):
        run(layer_of(text(options)), [random_blob(2, 3, 4)])
