"""Fillers: the initial values of params, and the contents of DummyData."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from farlayer.blobs.blob import Blob
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import NetError

_PART_VALUES = 1 << 16
"""Random numbers beside those of the blob are drawn in parts, so that they take no memory worth noting."""

if TYPE_CHECKING:
    _Fill = Callable[["NDArray[np.float32]", caffe_pb2.FillerParameter, np.random.Generator], None]


def fill(blob: Blob, param: caffe_pb2.FillerParameter, rng: np.random.Generator, *, layer: str) -> None:
    """Fills the data of a blob as a FillerParameter says.

    constant: value. uniform: from min to max. gaussian: of mean and std; with sparse thinned out. positive_unitball:
    positive rows that sum to 1. xavier: uniform of variance 1 / n, msra: gaussian of variance 2 / n, where n is the fan
    that variance_norm names. bilinear: the kernel of an upsampling, (1 - |x / f - c|) * (1 - |y / f - c|) with
    f = ceil(size / 2) and c = (size - 1) / (2 * f).

    The numbers are those of `rng`: reproducible from its seed. Differs from Caffe: not the numbers that Caffe's own
    generator draws from the same random_seed, though of the same distributions. An empty blob is left alone.

    Args:
        blob: what to fill.
        param: the filler's type and constants.
        rng: the source of random numbers.
        layer: name of the layer that wants it, for errors.

    Raises:
        NetError: an unknown filler type, or constants or a shape that the filler cannot work with.

    Source: Caffe, include/caffe/filler.hpp.
    """
    filler = _FILLERS.get(param.type)
    if filler is None:
        raise NetError(
            f"layer '{layer}': unknown filler type '{param.type}'; known: {', '.join(sorted(_FILLERS))}",
            remedy="use one of the known filler types",
            layer=layer,
        )
    if param.sparse != -1 and param.type != "gaussian":
        raise NetError(
            f"layer '{layer}': filler '{param.type}' has sparse: {param.sparse}, which it does not support",
            remedy="use sparse with the gaussian filler only",
            layer=layer,
        )
    if not blob.count:
        return
    try:
        filler(blob.data, param, rng)
    except ValueError as error:
        raise NetError(
            f"layer '{layer}': filler '{param.type}' cannot fill a blob of shape {blob.shape}: {error}",
            remedy="change the filler's constants or its type",
            layer=layer,
        ) from error


def _constant(data: NDArray[np.float32], param: caffe_pb2.FillerParameter, rng: np.random.Generator) -> None:
    data.fill(param.value)


def _uniform(data: NDArray[np.float32], param: caffe_pb2.FillerParameter, rng: np.random.Generator) -> None:
    if param.min > param.max:
        raise ValueError(f"min {param.min} is above max {param.max}")
    _draw_uniform(data, param.min, param.max, rng)


def _gaussian(data: NDArray[np.float32], param: caffe_pb2.FillerParameter, rng: np.random.Generator) -> None:
    if param.std <= 0:
        raise ValueError(f"std is {param.std}, expected more than 0")
    if param.sparse < -1:
        raise ValueError(f"sparse is {param.sparse}, expected -1 (off) or more")
    _draw_gaussian(data, param.mean, param.std, rng)
    if param.sparse >= 0:
        _thin_out(data, param.sparse, rng)


def _thin_out(data: NDArray[np.float32], sparse: int, rng: np.random.Generator) -> None:
    """Keeps a value with the probability sparse / shape[0]: so many for each output, on average, of a weight matrix."""
    if not data.ndim:
        raise ValueError("sparse needs a blob with at least one axis")
    if sparse > data.shape[0]:
        raise ValueError(f"sparse is {sparse}, expected at most {data.shape[0]}, the size of axis 0")
    flat = data.reshape(-1)
    for start in range(0, flat.size, _PART_VALUES):
        part = flat[start : start + _PART_VALUES]
        part *= rng.random(part.size, np.float32) < sparse / data.shape[0]


def _positive_unitball(data: NDArray[np.float32], param: caffe_pb2.FillerParameter, rng: np.random.Generator) -> None:
    _draw_uniform(data, 0.0, 1.0, rng)
    rows = data.reshape(data.shape[0] if data.ndim else 1, -1)
    rows /= rows.sum(axis=1, keepdims=True)


def _xavier(data: NDArray[np.float32], param: caffe_pb2.FillerParameter, rng: np.random.Generator) -> None:
    limit = math.sqrt(3.0 / _fan(data, param))
    _draw_uniform(data, -limit, limit, rng)


def _msra(data: NDArray[np.float32], param: caffe_pb2.FillerParameter, rng: np.random.Generator) -> None:
    _draw_gaussian(data, 0.0, math.sqrt(2.0 / _fan(data, param)), rng)


def _bilinear(data: NDArray[np.float32], param: caffe_pb2.FillerParameter, rng: np.random.Generator) -> None:
    if data.ndim != 4 or data.shape[2] != data.shape[3]:
        raise ValueError("it needs 4 axes, the last two of the same size")
    size = data.shape[3]
    factor = math.ceil(size / 2.0)
    center = (size - 1) / (2.0 * factor)
    line = 1 - np.abs(np.arange(size) / factor - center)
    data[...] = np.outer(line, line)


def _fan(data: NDArray[np.float32], param: caffe_pb2.FillerParameter) -> float:
    """The number of inputs, outputs or their mean, as variance_norm asks."""
    fan_in = data.size / (data.shape[0] if data.ndim else 1)
    fan_out = data.size / (data.shape[1] if data.ndim > 1 else 1)
    if param.variance_norm == caffe_pb2.FillerParameter.AVERAGE:
        return (fan_in + fan_out) / 2
    return fan_out if param.variance_norm == caffe_pb2.FillerParameter.FAN_OUT else fan_in


def _draw_uniform(data: NDArray[np.float32], low: float, high: float, rng: np.random.Generator) -> None:
    rng.random(dtype=np.float32, out=data)
    data *= np.float32(high - low)
    data += np.float32(low)


def _draw_gaussian(data: NDArray[np.float32], mean: float, std: float, rng: np.random.Generator) -> None:
    rng.standard_normal(dtype=np.float32, out=data)
    data *= np.float32(std)
    data += np.float32(mean)


_FILLERS: dict[str, _Fill] = {
    "bilinear": _bilinear,
    "constant": _constant,
    "gaussian": _gaussian,
    "msra": _msra,
    "positive_unitball": _positive_unitball,
    "uniform": _uniform,
    "xavier": _xavier,
}
