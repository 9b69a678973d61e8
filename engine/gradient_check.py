"""Compares the gradients that a layer computes with numeric ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farlayer.blobs.blob import Blob
from farlayer.engine.layer import Blobs, Layer
from farlayer.protos.errors import FarlayerError

Array = NDArray[np.float32]


class GradientMismatchError(FarlayerError):
    """A gradient differs from the numeric one by more than the threshold."""


@dataclass(frozen=True)
class _Objective:
    """A number made of a layer's tops, whose gradients are compared.

    Attributes:
        name: what to call it in errors.
        top_diffs: its gradient with respect to each top; None for the layer's own loss.
    """

    name: str
    top_diffs: list[Array] | None

    def value(self, layer: Layer, bottom: Blobs, top: Blobs) -> float:
        loss = layer.run_forward(bottom, top)
        if self.top_diffs is None:
            return loss
        # In double precision, so that the difference of two values keeps its digits.
        return float(
            sum(
                np.vdot(diff.astype(np.float64), blob.data.astype(np.float64))
                for diff, blob in zip(self.top_diffs, top, strict=True)
            )
        )


class GradientChecker:
    """Checks backward against finite differences of forward.

    For a layer that is a loss the objective is the loss. For others it is one element of one top at a time (times 2,
    as Caffe does), so every entry of the Jacobian is seen; or, where top_diffs are given, the sum of all tops weighted
    with them, which costs one pass instead of one for each element. Layers that draw random numbers need a generator
    that repeats.

    Args:
        step: the distance of the two forward passes on both sides of a value.
        threshold: how far apart the gradients may be, relative to the larger of them and 1.
        kink: the absolute value around which the function bends, as 0 for ReLU.
        kink_range: values within it of the kink are not checked; none are left out where it is negative.

    Source: Caffe, include/caffe/test/test_gradient_check_util.hpp.
    """

    def __init__(
        self, *, step: float = 1e-2, threshold: float = 1e-3, kink: float = 0.0, kink_range: float = -1.0
    ) -> None:
        self.step = step
        self.threshold = threshold
        self.kink = kink
        self.kink_range = kink_range

    def check(
        self,
        layer: Layer,
        bottom: Blobs,
        top: Blobs,
        *,
        check_bottom: Sequence[int] | None = None,
        top_diffs: Sequence[Array] | None = None,
    ) -> int:
        """Sets the layer up, where it is not yet, and checks the gradients of its learning params and its bottoms.

        Args:
            layer: one that is not set up, or one that is, with these bottoms and tops.
            bottom: filled with the values to check at; the data is as before afterwards.
            top: blobs for the tops.
            check_bottom: indices of the bottoms to check; None for all.
            top_diffs: for each top the weights of its elements in one common objective.

        Returns:
            How many values were compared.

        Raises:
            GradientMismatchError: names the place, and both gradients.
        """
        if not layer.loss_weights:
            layer.run_setup(bottom, top)
        layer.param_propagate_down = _learns(layer)
        indices = range(len(bottom)) if check_bottom is None else check_bottom
        blobs = {
            f"param {index}": blob
            for index, (blob, learns) in enumerate(zip(layer.params, layer.param_propagate_down, strict=True))
            if learns
        }
        blobs |= {f"bottom {index}": bottom[index] for index in indices}
        compared = 0
        for objective in _objectives(layer, top, top_diffs):
            _run_backward(layer, bottom, top, [index in indices for index in range(len(bottom))], objective)
            gradients = {name: blob.diff.copy().reshape(-1) for name, blob in blobs.items()}
            for name, blob in blobs.items():
                compared += self._compare(layer, bottom, top, blob, gradients[name], objective, name)
        return compared

    def _compare(
        self, layer: Layer, bottom: Blobs, top: Blobs, blob: Blob, analytic: Array, objective: _Objective, name: str
    ) -> int:
        values = blob.data.reshape(-1)
        compared = 0
        for index in range(blob.count):
            value = values[index]
            if abs(abs(float(value)) - self.kink) <= self.kink_range:
                continue
            numeric = 0.0
            for sign in (1, -1):
                values[index] = value + sign * self.step
                numeric += sign * objective.value(layer, bottom, top) / (2 * self.step)
            values[index] = value
            scale = max(abs(float(analytic[index])), abs(numeric), 1.0)
            # Written so that a NaN on either side is a mismatch.
            if not abs(float(analytic[index]) - numeric) <= self.threshold * scale:
                raise GradientMismatchError(
                    f"layer '{layer.name}' ({layer.type_name}): gradient of {objective.name} with respect to {name}, "
                    f"value {index} = {value}: backward gives {analytic[index]}, finite differences {numeric}",
                    layer=layer.name,
                )
            compared += 1
        return compared


def _learns(layer: Layer) -> list[bool]:
    """For each param whether it learns: those with lr_mult 0, as the statistics of BatchNorm, have no gradient."""
    specs = layer.param.param
    return [index >= len(specs) or specs[index].lr_mult != 0 for index in range(len(layer.params))]


def _objectives(layer: Layer, top: Blobs, top_diffs: Sequence[Array] | None) -> Iterator[_Objective]:
    if any(layer.loss_weights):
        yield _Objective("the loss", None)
    elif top_diffs is not None:
        yield _Objective("the weighted tops", list(top_diffs))
    else:
        for index, blob in enumerate(top):
            for element in range(blob.count):
                diffs = [np.zeros(other.shape, np.float32) for other in top]
                diffs[index].reshape(-1)[element] = 2
                yield _Objective(f"top {index}[{element}]", diffs)


def _run_backward(layer: Layer, bottom: Blobs, top: Blobs, propagate_down: list[bool], objective: _Objective) -> None:
    for blob in layer.params:
        blob.diff.fill(0)
    layer.run_forward(bottom, top)
    if objective.top_diffs is not None:
        for blob, diff in zip(top, objective.top_diffs, strict=True):
            blob.diff[...] = diff
    layer.backward(top, propagate_down, bottom)
