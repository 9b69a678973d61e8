"""What transform_param asks for: crop, mirror, subtract the mean, scale."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from farlayer.engine.data.datum import Planes
from farlayer.engine.data.images import Color
from farlayer.engine.data.mean_image import read_mean_image
from farlayer.engine.upgrade import OLD_TRANSFORM_FIELDS
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import InputError

Array = NDArray[np.float32]
Shape = tuple[int, int, int]

_OF_FORKS = ("resize_param", "noise_param", "emit_constraint", "distort_param", "expand_param")
_WithOlderFields = caffe_pb2.DataParameter | caffe_pb2.ImageDataParameter | caffe_pb2.WindowDataParameter


def transform_param_of(
    layer: caffe_pb2.LayerParameter, data_param: _WithOlderFields
) -> caffe_pb2.TransformationParameter:
    """The transformation of a layer, with the fields that nets before 2014 have in the layer's own parameter.

    Differs from Caffe: there they have no effect in a layer of the present format, but for WindowData's scale.
    """
    param = caffe_pb2.TransformationParameter()
    param.CopyFrom(layer.transform_param)
    for descriptor, value in data_param.ListFields():
        if descriptor.name in OLD_TRANSFORM_FIELDS:
            setattr(param, descriptor.name, value)
    return param


def read_transformer(
    param: caffe_pb2.TransformationParameter, phase: caffe_pb2.Phase.ValueType, rng: np.random.Generator
) -> Transformer:
    """Makes the transformer that a transform_param describes, and reads its mean file.

    Raises:
        InputError: fields contradict each other or are not supported, or the mean file cannot be read.
    """
    for descriptor, _ in param.ListFields():
        if descriptor.name in _OF_FORKS:
            raise InputError(
                f"transform_param.{descriptor.name} is given, which this engine does not have",
                remedy="leave it out, or transform the images in a Python layer",
            )
    if param.HasField("mean_file") and param.mean_value:
        raise InputError("transform_param has both mean_file and mean_value", remedy="keep one of them")
    if param.force_color and param.force_gray:
        raise InputError("transform_param has both force_color and force_gray", remedy="keep one of them")
    return Transformer(
        scale=param.scale,
        mirror=param.mirror,
        crop=_crop_of(param),
        crop_at_random=phase == caffe_pb2.TRAIN,
        mean_image=read_mean_image(param.mean_file) if param.HasField("mean_file") else None,
        mean_values=np.array(param.mean_value, np.float32)[:, np.newaxis, np.newaxis] if param.mean_value else None,
        rng=rng,
    )


def forced_color(param: caffe_pb2.TransformationParameter) -> Color:
    """The channels with which encoded images shall be decoded."""
    if param.force_color:
        return "color"
    return "gray" if param.force_gray else "native"


@dataclass
class Transformer:
    """Turns images into the data of a net: (pixel - mean) * scale of each pixel inside the crop, perhaps mirrored.

    Numbers are drawn image by image: whether to mirror (in TRAIN and in TEST), then the crop's row and column.

    Attributes:
        scale: a factor.
        mirror: whether half of the images are mirrored, at random.
        crop: height and width of the part to take, None for the whole.
        crop_at_random: where to take it, else in the middle.
        mean_image: subtracted pixel by pixel before the crop; of the images' shape.
        mean_values: subtracted; shape (1 or channels, 1, 1).
        rng: where the numbers come from.

    Source: Caffe, src/caffe/data_transformer.cpp.
    """

    scale: float
    mirror: bool
    crop: tuple[int, int] | None
    crop_at_random: bool
    mean_image: Array | None
    mean_values: Array | None
    rng: np.random.Generator
    _last: tuple[tuple[int, ...], Shape] = field(default=((), (0, 0, 0)), init=False)

    def shape_of(self, shape: tuple[int, ...], name: str) -> Shape:
        """The shape that an image of (channels, height, width) has afterwards; `name` says in errors which image.

        Raises:
            InputError: the crop or the mean does not fit it.
        """
        if shape != self._last[0]:
            self._last = (shape, self._checked(shape, name))
        return self._last[1]

    def place(self, planes: Planes, out: Array, name: str) -> None:
        """Crops and mirrors one image into `out`, less the mean image. Once all of a batch are placed: `finish`.

        Raises:
            InputError: the image does not fit the crop, the mean, or `out`; `name` says which.
        """
        shape = self.shape_of(planes.shape, name)
        if shape != out.shape:
            raise InputError(
                f"{name} becomes {_size(shape)}, but the batch is of images that are {_size(out.shape)}",
                remedy="give all images one size (ImageData: new_height and new_width; convert-imageset: "
                "--resize-height and --resize-width), set crop_size, or use batch_size: 1",
            )
        mirrored = self.mirror and bool(self.rng.integers(2))
        row, column = self._corner(planes.shape, shape) if self.crop else (0, 0)
        part = (slice(None), slice(row, row + shape[1]), slice(column, column + shape[2]))
        target = out[:, :, ::-1] if mirrored else out
        if self.mean_image is None:
            target[...] = planes[part]
        else:
            np.subtract(planes[part], self.mean_image[part], out=target)

    def finish(self, batch: Array) -> None:
        """Subtracts the mean values from a batch whose images are placed, and scales it."""
        if self.mean_values is not None:
            batch -= self.mean_values
        if self.scale != 1:
            batch *= np.float32(self.scale)

    def _corner(self, shape: tuple[int, ...], cropped: Shape) -> tuple[int, int]:
        spare = shape[1] - cropped[1], shape[2] - cropped[2]
        if self.crop_at_random:
            return int(self.rng.integers(spare[0] + 1)), int(self.rng.integers(spare[1] + 1))
        return spare[0] // 2, spare[1] // 2

    def _checked(self, shape: tuple[int, ...], name: str) -> Shape:
        channels, height, width = shape
        crop = self.crop or (height, width)
        if crop[0] > height or crop[1] > width:
            raise InputError(
                f"{name} is {_size(shape)}, smaller than the crop of {crop[0]} x {crop[1]}",
                remedy="use a smaller crop_size, or larger images",
            )
        if self.mean_image is not None and self.mean_image.shape != shape:
            raise InputError(
                f"{name} is {_size(shape)}, but the mean image of mean_file is {_size(self.mean_image.shape)}",
                remedy="make the mean image from images of the same size, or use mean_value",
            )
        if self.mean_values is not None and len(self.mean_values) not in (1, channels):
            raise InputError(
                f"{name} has {channels} channels, but mean_value is given {len(self.mean_values)} times",
                remedy="give mean_value once, or once for each channel",
            )
        return (channels, *crop)


def _crop_of(param: caffe_pb2.TransformationParameter) -> tuple[int, int] | None:
    if param.crop_size:
        return (param.crop_size, param.crop_size)
    if bool(param.crop_h) != bool(param.crop_w):
        raise InputError(
            f"transform_param has crop_h {param.crop_h} and crop_w {param.crop_w}", remedy="set both, or crop_size"
        )
    return (param.crop_h, param.crop_w) if param.crop_h else None


def _size(shape: tuple[int, ...]) -> str:
    return "{} x {} x {} (channels x height x width)".format(*shape)
