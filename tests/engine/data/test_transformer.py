from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlayer.engine.data.transformer import Transformer, forced_color, read_transformer, transform_param_of
from farlayer.engine.prototxt import parse
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import InputError
from tests.engine.data.support import image, write_mean

PLANES = image(6, 8).transpose(2, 0, 1)
MEAN = np.random.default_rng(1).random(PLANES.shape, np.float32) * 255


def transformer(text: str, *, phase: caffe_pb2.Phase.ValueType = caffe_pb2.TEST, seed: int = 1) -> Transformer:
    param = parse(text, caffe_pb2.TransformationParameter())
    return read_transformer(param, phase, np.random.default_rng(seed))


def transformed(made: Transformer, planes: np.ndarray = PLANES) -> np.ndarray:
    out = np.empty((1, *made.shape_of(planes.shape, "x")), np.float32)
    made.place(planes, out[0], "x")
    made.finish(out)
    return out[0]


def pixel_by_pixel(
    value: Callable[[int, int, int], float], corner: tuple[int, int], shape: tuple[int, ...], mirrored: bool
) -> np.ndarray:
    """What Caffe's documentation of the fields says, one value at a time."""
    out = np.empty(shape, np.float32)
    for channel, row, column in np.ndindex(*shape):
        target = shape[2] - 1 - column if mirrored else column
        out[channel, row, target] = value(channel, corner[0] + row, corner[1] + column)
    return out


def test_without_fields_pixels_become_floats() -> None:
    result = transformed(transformer(""))
    np.testing.assert_array_equal(result, PLANES)
    assert result.dtype == np.float32


def test_scale_multiplies_after_the_mean_values_are_taken_off() -> None:
    result = transformed(transformer("scale: 0.5 mean_value: 10 mean_value: 20 mean_value: 30"))
    expected = pixel_by_pixel(lambda c, h, w: (PLANES[c, h, w] - [10.0, 20.0, 30.0][c]) * 0.5, (0, 0), (3, 6, 8), False)
    np.testing.assert_array_equal(result, expected)


def test_one_mean_value_holds_for_all_channels() -> None:
    np.testing.assert_array_equal(transformed(transformer("mean_value: 10")), PLANES.astype(np.float32) - 10)


@pytest.mark.parametrize("crop", ["crop_size: 3", "crop_h: 2 crop_w: 5", "crop_size: 6"])
def test_in_test_the_crop_is_the_middle(crop: str, tmp_path: Path) -> None:
    mean = write_mean(tmp_path / "mean", MEAN)
    result = transformed(transformer(f'{crop} mean_file: "{mean}" scale: 2'))
    height, width = result.shape[1:]
    expected = pixel_by_pixel(
        lambda c, h, w: (np.float32(PLANES[c, h, w]) - MEAN[c, h, w]) * 2,
        ((6 - height) // 2, (8 - width) // 2),
        (3, height, width),
        False,
    )
    np.testing.assert_array_equal(result, expected)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    mirror=st.booleans(),
    crop=st.integers(0, 6),
    is_train=st.booleans(),
    floats=st.booleans(),
    has_mean=st.booleans(),
)
def test_draws_come_as_mirror_row_column_and_the_mean_moves_with_the_pixels(
    seed: int, mirror: bool, crop: int, is_train: bool, floats: bool, has_mean: bool
) -> None:
    rng = np.random.default_rng(seed)
    planes = MEAN[::-1] if floats else PLANES
    made = Transformer(
        scale=0.25,
        mirror=mirror,
        crop=(crop, crop) if crop else None,
        crop_at_random=is_train,
        mean_image=MEAN if has_mean else None,
        mean_values=None,
        rng=np.random.default_rng(seed),
    )
    shape = (3, crop, crop) if crop else (3, 6, 8)
    for _ in range(3):
        mirrored = mirror and rng.integers(2) == 1
        corner = (0, 0)
        if crop:
            spare = 6 - crop, 8 - crop
            corner = (
                (rng.integers(spare[0] + 1), rng.integers(spare[1] + 1)) if is_train else (spare[0] // 2, spare[1] // 2)
            )
        expected = pixel_by_pixel(
            lambda c, h, w: (np.float32(planes[c, h, w]) - (MEAN[c, h, w] if has_mean else np.float32(0))) * 0.25,
            corner,
            shape,
            mirrored,
        )
        np.testing.assert_array_equal(transformed(made, planes), expected)


@pytest.mark.parametrize("phase", [caffe_pb2.TRAIN, caffe_pb2.TEST])
def test_half_of_the_images_are_mirrored_in_either_phase(phase: caffe_pb2.Phase.ValueType) -> None:
    made = transformer("mirror: true", phase=phase)
    mirrored = sum(bool((transformed(made) == PLANES[:, :, ::-1]).all()) for _ in range(400))
    assert 150 < mirrored < 250


def test_every_place_of_the_crop_comes_up_in_train() -> None:
    planes = np.arange(6 * 8, dtype=np.uint8).reshape(1, 6, 8)
    made = transformer("crop_size: 5", phase=caffe_pb2.TRAIN)
    assert {int(transformed(made, planes)[0, 0, 0]) for _ in range(200)} == {0, 1, 2, 3, 8, 9, 10, 11}


def test_images_of_a_batch_may_have_different_sizes_where_they_are_cropped() -> None:
    made = transformer("crop_size: 2")
    out = np.empty((2, 1, 2, 2), np.float32)
    made.place(np.arange(12, dtype=np.uint8).reshape(1, 3, 4), out[0], "x")
    made.place(np.arange(20, dtype=np.uint8).reshape(1, 4, 5), out[1], "x")
    np.testing.assert_array_equal(out[:, 0], [[[1, 2], [5, 6]], [[6, 7], [11, 12]]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('mean_file: "m" mean_value: 1', "both mean_file and mean_value"),
        ("force_color: true force_gray: true", "both force_color and force_gray"),
        ("crop_h: 3", "crop_h 3 and crop_w 0"),
        ('mean_file: "/nowhere/mean"', "'/nowhere/mean': No such file"),
        ("resize_param { height: 3 width: 3 }", "transform_param.resize_param is given"),
        ("noise_param { }", "noise_param"),
        ("distort_param { }", "distort_param"),
        ("expand_param { }", "expand_param"),
        ("emit_constraint { }", "emit_constraint"),
    ],
)
def test_fields_that_cannot_be_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        transformer(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("crop_size: 7", r"x is 3 x 6 x 8 .*, smaller than the crop of 7 x 7"),
        ("crop_h: 6 crop_w: 9", r"smaller than the crop of 6 x 9"),
        ("mean_value: 1 mean_value: 2", r"x has 3 channels, but mean_value is given 2 times"),
    ],
)
def test_an_image_that_does_not_fit_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        transformer(text).shape_of(PLANES.shape, "x")


def test_a_mean_image_of_another_shape_is_refused(tmp_path: Path) -> None:
    mean = write_mean(tmp_path / "mean", MEAN[:, 1:])
    with pytest.raises(InputError, match=r"x is 3 x 6 x 8 .*, but the mean image of mean_file is 3 x 5 x 8"):
        transformer(f'mean_file: "{mean}"').shape_of(PLANES.shape, "x")


def test_an_image_of_another_size_than_its_batch_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"x becomes 3 x 6 x 8 .*, but the batch is of images that are 3 x 6 x 7") as e:
        transformer("").place(PLANES, np.empty((3, 6, 7), np.float32), "x")
    assert "new_height" in e.value.remedy


def test_fields_at_their_older_place_count() -> None:
    layer = caffe_pb2.LayerParameter()
    layer.transform_param.mirror = False
    layer.transform_param.mean_value.append(3)
    older = caffe_pb2.DataParameter(scale=0.5, crop_size=4, mirror=True, batch_size=9)
    param = transform_param_of(layer, older)
    assert param == caffe_pb2.TransformationParameter(scale=0.5, crop_size=4, mirror=True, mean_value=[3])
    assert not layer.transform_param.HasField("crop_size")


def test_forced_channels() -> None:
    assert forced_color(caffe_pb2.TransformationParameter()) == "native"
    assert forced_color(caffe_pb2.TransformationParameter(force_color=True)) == "color"
    assert forced_color(caffe_pb2.TransformationParameter(force_gray=True)) == "gray"
