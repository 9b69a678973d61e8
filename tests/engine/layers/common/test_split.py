import numpy as np

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from tests.engine.support import assert_untouched, layer_of, random_blob, run, untouched


def test_all_tops_are_the_memory_of_the_bottom() -> None:
    bottom = random_blob(2, 3)
    tops = run(layer_of('type: "Split"'), [bottom], num_top=3)
    assert all(np.shares_memory(top.data, bottom.data) for top in tops)
    assert not np.shares_memory(tops[0].diff, tops[1].diff)


def test_gradients_of_all_tops_are_summed() -> None:
    bottom = random_blob(2, 3)
    layer = layer_of('type: "Split"')
    tops = run(layer, [bottom], num_top=3)
    for index, top in enumerate(tops):
        top.diff.fill(10**index)
    layer.backward(tops, [True], [bottom])
    assert (bottom.diff == 111).all()


def test_the_gradient_is_right() -> None:
    assert GradientChecker().check(layer_of('type: "Split"'), [random_blob(2, 2)], [Blob(), Blob()])


def test_a_single_top_passes_its_gradient_on() -> None:
    assert GradientChecker().check(layer_of('type: "Split"'), [random_blob(2, 2)], [Blob()])


def test_tops_follow_a_bottom_that_grows() -> None:
    bottom = random_blob(2, 3)
    layer = layer_of('type: "Split"')
    tops = run(layer, [bottom], num_top=2)
    bottom.reshape(4, 3)
    bottom.data[...] = 5
    layer.run_forward([bottom], tops)
    assert tops[1].shape == (4, 3)
    assert (tops[1].data == 5).all()


def test_without_propagate_down_the_diff_stays() -> None:
    bottom = random_blob(2, 3)
    layer = layer_of('type: "Split"')
    tops = run(layer, [bottom], num_top=2)
    untouched(bottom)
    layer.backward(tops, [False], [bottom])
    assert_untouched(bottom)
