"""Class labels as layers read them: whole numbers in float blobs, one of them possibly to be ignored."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from farlayer.blobs.blob import Blob
    from farlayer.engine.layer import Layer

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Labels:
    """The labels that go with an array of shape (outer, classes, inner). Its arrays have shape (outer, 1, inner).

    They lie in the layer's scratch: good until it reads labels again.

    Attributes:
        classes: the class of each place; 0 where it is ignored.
        ignored: which places do not count; None where all do.
        positions: where in the array, taken as flat, the value of each label is.
    """

    classes: NDArray[np.intp]
    ignored: NDArray[np.bool_] | None
    positions: NDArray[np.intp]

    @property
    def num_valid(self) -> int:
        """How many labels count."""
        return self.classes.size - (0 if self.ignored is None else int(np.count_nonzero(self.ignored)))

    def pick(self, values: Array, out: Array) -> None:
        """Copies the value of each label out of an array of shape (outer, classes, inner)."""
        if out.size:
            np.take(values.reshape(-1), self.positions, out=out, mode="clip")  # the other modes make a copy first

    def put(self, picked: Array, values: Array) -> None:
        """Writes the value of each label into an array of shape (outer, classes, inner)."""
        values.reshape(-1)[self.positions] = picked

    def fill_ignored(self, array: NDArray[Any], value: float) -> None:
        """Sets an array of shape (outer, any number, inner) to one value where the label is ignored."""
        if self.ignored is not None:
            np.copyto(array, value, where=self.ignored)


def as_samples(array: Array) -> Array:
    """Views an array of shape (N, classes...) as (N, classes, 1), all axes but the first taken as one."""
    shape = array.shape or (1,)
    return array.reshape(shape[0], math.prod(shape[1:]), 1)


def check_label_count(layer: Layer, scores: Blob, labels: Blob, axis: int) -> None:
    """Compares the number of labels with that of the places outside the axis of classes.

    Raises:
        NetError: they differ.
    """
    shape = scores.shape
    places = math.prod(shape[:axis]) * math.prod(shape[axis + 1 :])
    if labels.count != places:
        raise layer.error(
            f"{labels.count} labels (shape {labels.shape}) for scores of shape {shape} with classes along axis {axis}, "
            f"expected {places}",
            remedy="give one label, a whole number from 0 to classes - 1, for each place outside that axis",
        )


def read_labels(layer: Layer, values: Array, shape: tuple[int, ...], ignore_label: int | None = None) -> Labels:
    """Turns a label blob into indices.

    Args:
        layer: who reads; its scratch holds the result.
        values: the labels, one for each outer and inner place. Fractions are cut off, as in Caffe.
        shape: (outer, classes, inner) of what the labels point into.
        ignore_label: the label that does not count; None where all do.

    Raises:
        NetError: a label that counts is not in 0 .. classes - 1. Differs from Caffe, which reads beyond the scores.
    """
    outer, num_classes, inner = shape
    classes = layer.scratch.array_of("classes", (outer, 1, inner), np.intp)
    np.copyto(classes, values.reshape(classes.shape), casting="unsafe")
    ignored: NDArray[np.bool_] | None = None
    if ignore_label is not None:
        ignored = layer.scratch.array_of("ignored", classes.shape, np.bool_)
        np.equal(classes, ignore_label, out=ignored)
        np.copyto(classes, 0, where=ignored)
    if classes.size and (classes.min() < 0 or classes.max() >= num_classes):
        wrong = classes[(classes < 0) | (classes >= num_classes)].flat[0]
        raise layer.error(
            f"label {wrong} is out of range: the scores have {num_classes} classes, so labels go from 0 to "
            f"{num_classes - 1}",
            remedy="correct the labels, give the scores more classes, or set ignore_label",
        )
    return Labels(classes, ignored, _positions(layer, classes, num_classes))


def _positions(layer: Layer, classes: NDArray[np.intp], num_classes: int) -> NDArray[np.intp]:
    """(item * num_classes + class) * inner + place, worked out in kept memory."""
    outer, _, inner = classes.shape
    positions = layer.scratch.array_of("positions", classes.shape, np.intp)
    np.multiply(classes, inner, out=positions)
    np.add(positions, _steps(layer, "items", outer, num_classes * inner).reshape(outer, 1, 1), out=positions)
    np.add(positions, _steps(layer, "places", inner, 1), out=positions)
    return positions


def _steps(layer: Layer, name: str, count: int, step: int) -> NDArray[np.intp]:
    """0, step, 2 * step, ... in the layer's workspace."""
    steps = layer.workspace.array_of(name, (count,), np.intp)
    steps.fill(step)
    steps[:1] = 0
    return np.cumsum(steps, out=steps)
