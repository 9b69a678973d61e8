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


def text(group: int) -> str:
    return f'type: "ShuffleChannel" shuffle_channel_param {{ group: {group} }}'


def test_channels_of_the_groups_alternate() -> None:
    (top,) = run(layer_of(text(2)), [blob_of([[0, 1, 2, 3, 4, 5]])])
    assert top.data.tolist() == [[0, 3, 1, 4, 2, 5]]


@pytest.mark.parametrize("group", [1, 2, 3, 6])
@pytest.mark.parametrize("axes", [(), (2,), (2, 3)])
def test_every_channel_goes_to_its_place_and_its_gradient_back(group: int, axes: tuple[int, ...]) -> None:
    bottom = random_blob(2, 6, *axes)
    layer = layer_of(text(group))
    (top,) = run(layer, [bottom])
    for channel in range(6):
        source, place = divmod(channel, 6 // group)
        np.testing.assert_array_equal(top.data[:, place * group + source], bottom.data[:, channel])
    top.diff[...] = 2 * top.data
    layer.run_backward([top], [True], [bottom])
    np.testing.assert_array_equal(bottom.diff, 2 * bottom.data)


def test_one_group_is_the_default_and_changes_nothing() -> None:
    bottom = random_blob(2, 5, 3)
    (top,) = run(layer_of('type: "ShuffleChannel"'), [bottom])
    np.testing.assert_array_equal(top.data, bottom.data)


def test_the_gradient_is_right() -> None:
    assert GradientChecker().check(layer_of(text(3)), [random_blob(2, 6, 2)], [Blob()])


def test_an_empty_batch_passes() -> None:
    bottom = random_blob(0, 4, 2, 2)
    layer = layer_of(text(2))
    top = run(layer, [bottom])
    layer.run_backward(top, [True], [bottom])
    assert top[0].shape == (0, 4, 2, 2)


def test_without_propagate_down_the_diff_stays() -> None:
    bottom = random_blob(2, 4)
    layer = layer_of(text(2))
    top = run(layer, [bottom])
    untouched(bottom)
    layer.run_backward(top, [False], [bottom])
    assert_untouched(bottom)


def test_a_steady_state_allocates_nothing() -> None:
    assert_nothing_is_allocated(layer_of(text(4)), [random_blob(4, 16, 40, 40)])


@pytest.mark.parametrize(("group", "shape"), [(0, (2, 4)), (3, (2, 4)), (8, (2, 4)), (1, (4,))])
def test_groups_that_do_not_divide_the_channels_are_refused(group: int, shape: tuple[int, ...]) -> None:
    with pytest.raises(NetError, match=rf"group is {group} for a bottom of shape \({shape[0]},"):
        run(layer_of(text(group)), [random_blob(*shape)])
