import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker, GradientMismatchError
from farlayer.engine.layer import Blobs, Flags
from farlayer.engine.layers.neuron.neuron_layer import NeuronLayer
from farlayer.engine.registry import register
from tests.engine.support import blob_of, layer_of, random_blob


@register("TestWrongCube")
class WrongCubeLayer(NeuronLayer):
    """x^3 with a gradient that is wrong for negative x by 2 percent, and NaN at exactly 5."""

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        top[0].data[...] = bottom[0].data ** 3

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        x = bottom[0].data
        right = 3 * x * x * top[0].diff
        bottom[0].diff[...] = np.where(x < 0, 1.02, 1) * np.where(x == 5, np.nan, 1) * right


def test_a_right_gradient_passes_and_every_pair_is_compared() -> None:
    assert GradientChecker().check(layer_of('type: "TestWrongCube"'), [blob_of([1, 2])], [Blob()]) == 4


@pytest.mark.parametrize("value", [-1, 5])
def test_a_wrong_gradient_is_found_and_its_place_named(value: float) -> None:
    with pytest.raises(GradientMismatchError, match=r"top 0\[[01]\] with respect to bottom 0, value 1 = ") as caught:
        GradientChecker().check(layer_of('type: "TestWrongCube"'), [blob_of([1, value])], [Blob()])
    assert caught.value.layer == "l"


def test_a_wrong_gradient_is_found_by_one_weighted_objective_too() -> None:
    layer = layer_of('type: "TestWrongCube"')
    with pytest.raises(GradientMismatchError, match="the weighted tops"):
        GradientChecker().check(layer, [blob_of([1, -1])], [Blob()], top_diffs=[np.float32([1, 1])])


def test_params_that_do_not_learn_are_not_compared() -> None:
    layer = layer_of('type: "InnerProduct" inner_product_param { num_output: 1 } param { lr_mult: 0 } param { }')
    bottom = blob_of([[1, 2, 3]])
    assert GradientChecker().check(layer, [bottom], [Blob()]) == 1 + 3
    assert not layer.params[0].diff.any()


def test_values_near_the_kink_are_left_out() -> None:
    checker = GradientChecker(kink=1, kink_range=0.1)
    assert checker.check(layer_of('type: "TestWrongCube"'), [blob_of([1, 2, -1])], [Blob()]) == 3


def test_the_bottom_is_as_before_afterwards() -> None:
    bottom = random_blob(2, 3)
    before = bottom.data.copy()
    GradientChecker().check(layer_of('type: "TanH"'), [bottom], [Blob()])
    np.testing.assert_array_equal(bottom.data, before)
