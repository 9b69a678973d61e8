"""What Caffe gives for windows that reach or lie behind the image. Recorded from the original's layers."""

import numpy as np

from farlayer.engine.layer import Layer
from tests.engine.support import blob_of, layer_of, run, set_up


def convolution(kernel: int, stride: int, more: str = "") -> Layer:
    fields = f"num_output: 1 kernel_size: {kernel} stride: {stride} bias_term: false {more}"
    return layer_of(f'type: "Convolution" convolution_param {{ {fields} }}')


def test_a_convolution_of_stride_2_has_one_place_on_an_image_smaller_by_1_than_its_kernel() -> None:
    bottom = blob_of([[[[1, 2], [3, 4]]]])
    layer = convolution(3, 2)
    top = set_up(layer, [bottom])
    layer.params[0].data[...] = np.arange(1, 10).reshape(1, 1, 3, 3)
    layer.run_forward([bottom], top)
    # What lies behind the image counts as 0.
    np.testing.assert_array_equal(top[0].data, [[[[1 * 1 + 2 * 2 + 4 * 3 + 5 * 4]]]])
    top[0].diff.fill(1)
    layer.run_backward(top, [True], [bottom])
    np.testing.assert_array_equal(bottom.diff, [[[[1, 2], [4, 5]]]])
    np.testing.assert_array_equal(layer.params[0].diff, [[[[1, 2, 0], [3, 4, 0], [0, 0, 0]]]])


def test_im2col_of_stride_2_has_one_place_on_an_image_smaller_by_1_than_its_kernel() -> None:
    layer = layer_of('type: "Im2col" convolution_param { kernel_size: 3 stride: 2 }')
    (top,) = run(layer, [blob_of([[[1, 2]]])])
    np.testing.assert_array_equal(top.data, [[[1], [2], [0]]])


def test_the_average_of_a_window_behind_the_image_is_nan() -> None:
    layer = layer_of('type: "Pooling" pooling_param { pool: AVE kernel_size: 1 stride: 2 }')
    (top,) = run(layer, [blob_of([[[[1, 2], [3, 4]]]])])
    np.testing.assert_array_equal(top.data, [[[[1, np.nan], [np.nan, np.nan]]]])
