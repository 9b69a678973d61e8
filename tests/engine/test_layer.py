import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.layer import Blobs, Layer
from farlayer.engine.registry import register
from farlayer.protos.errors import NetError
from tests.engine.support import layer_of, random_blob, run, set_up


@register("TestTwoToThree")
class TwoToThreeLayer(Layer):
    """Two or three bottoms, any number of tops, the shape of the first."""

    min_num_bottom = 2
    max_num_bottom = 3

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        for blob in top:
            blob.reshape(bottom[0].shape)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        for blob in top:
            blob.data[...] = bottom[0].data


@pytest.mark.parametrize(
    ("text", "num_bottom", "num_top", "message"),
    [
        ('type: "TanH"', 2, 1, r"takes exactly 1 bottom blob\(s\), got 2"),
        ('type: "TanH"', 1, 0, r"takes exactly 1 top blob\(s\), got 0"),
        ('type: "Split"', 1, 0, r"takes at least 1 top blob\(s\), got 0"),
        ('type: "Pooling"', 1, 3, r"takes 1 to 2 top blob\(s\), got 3"),
        ('type: "TestTwoToThree"', 1, 1, r"takes 2 to 3 bottom blob\(s\), got 1"),
        ('type: "TestTwoToThree"', 4, 1, r"takes 2 to 3 bottom blob\(s\), got 4"),
        ('type: "Convolution"', 2, 1, r"as many tops as bottoms, got 2 bottom\(s\) and 1 top\(s\)"),
    ],
)
def test_wrong_counts_are_refused_with_layer_and_remedy(text: str, num_bottom: int, num_top: int, message: str) -> None:
    with pytest.raises(NetError, match=message) as caught:
        set_up(layer_of(text), [random_blob(1, 1, 2, 2) for _ in range(num_bottom)], num_top)
    assert caught.value.layer == "l"
    assert caught.value.remedy


def test_the_loss_is_the_weighted_sum_of_the_tops() -> None:
    layer = layer_of('type: "TestTwoToThree" loss_weight: 2 loss_weight: 0 loss_weight: 0.5')
    bottom = [random_blob(2, 3), random_blob(1)]
    tops = set_up(layer, bottom, num_top=3)
    assert layer.run_forward(bottom, tops) == pytest.approx(2.5 * bottom[0].data.sum(), rel=1e-5)
    assert [float(top.diff.mean()) for top in tops] == [2, 0, 0.5]


def test_a_loss_that_grows_gets_its_gradient_again() -> None:
    layer = layer_of('type: "TestTwoToThree" loss_weight: 2')
    bottom = [random_blob(2), random_blob(1)]
    tops = set_up(layer, bottom)
    bottom[0].reshape(100)
    layer.run_forward(bottom, tops)
    assert (tops[0].diff == 2).all()


def test_a_loss_weight_for_some_tops_only_is_refused() -> None:
    with pytest.raises(NetError, match=r"loss_weight is given 1 time\(s\) for 2 top\(s\)"):
        set_up(layer_of('type: "TestTwoToThree" loss_weight: 1'), [random_blob(2), random_blob(1)], num_top=2)


def test_a_layer_without_axes_has_no_axis() -> None:
    with pytest.raises(NetError, match=r"axis is 1, but the blob has shape \(\)"):
        run(layer_of('type: "Softmax"'), [Blob(())])


def test_two_layers_of_one_text_draw_the_same_numbers_from_the_same_seed() -> None:
    text = 'type: "InnerProduct" inner_product_param { num_output: 3 weight_filler { type: "xavier" } }'
    layers = [layer_of(text, seed=seed) for seed in (1, 1, 2)]
    for layer in layers:
        set_up(layer, [random_blob(2, 4)])
    np.testing.assert_array_equal(layers[0].params[0].data, layers[1].params[0].data)
    assert (layers[0].params[0].data != layers[2].params[0].data).any()
