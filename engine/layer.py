"""The base of every layer: counts are checked, then setup, then reshape; a reshape precedes every forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import numpy as np

from farlayer.blobs.blob import Blob
from farlayer.engine.blob_proto import blob_from_proto
from farlayer.engine.fillers import fill
from farlayer.engine.kernels.choice import NUMPY, Kernels
from farlayer.engine.scratch import Scratch, Workspace
from farlayer.protos.errors import BlobError, NetError

if TYPE_CHECKING:
    from farlayer.client.host import LayerHost
    from farlayer.protos import caffe_pb2

Blobs: TypeAlias = Sequence[Blob]
Flags: TypeAlias = Sequence[bool]


@dataclass(frozen=True)
class LayerContext:
    """What the layers of a net share.

    Attributes:
        host: where Python layers live.
        rng: the one source of random numbers (fillers, DummyData, stochastic pooling). With a solver's random_seed it
            gives the same numbers in every run. Differs from Caffe: they are not the numbers of Caffe's generator.
        kernels: which code does the heavy arithmetic.
        workspace: working memory that each call of a layer may use and none keeps: the largest need counts, once.
    """

    host: LayerHost
    rng: np.random.Generator
    kernels: Kernels = NUMPY
    workspace: Workspace = field(default_factory=Workspace)


def quiet_arithmetic() -> np.errstate:
    """A context in which native code may overflow or meet a NaN without NumPy's warnings.

    As in Caffe such values just flow on; `Net.check_finite` finds where they came from. Users' code keeps its warnings.
    """
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")


class Layer:
    """One layer of a net. A subclass gives setup (where needed), reshape, forward and backward.

    The counts are class attributes, None where anything goes, and are checked once before setup.

    Attributes:
        param: the LayerParameter, owned by the layer. As in Caffe, setup may add to it (a loss layer its loss_weight).
        name: the layer's name.
        loss_weights: one a top once set up; 0 for a top that is no loss.
        param_propagate_down: one a param: whether backward shall add to its diff.
        scratch: the layer's own working memory, kept between calls.
        workspace: working memory of all layers of the net; contents are good within one call.

    Source: Caffe, include/caffe/layer.hpp.
    """

    type_name: ClassVar[str] = ""
    exact_num_bottom: ClassVar[int | None] = None
    min_num_bottom: ClassVar[int | None] = None
    max_num_bottom: ClassVar[int | None] = None
    exact_num_top: ClassVar[int | None] = None
    min_num_top: ClassVar[int | None] = None
    max_num_top: ClassVar[int | None] = None
    equal_num_bottom_top: ClassVar[bool] = False
    auto_top_blobs: ClassVar[bool] = False
    """Whether the net adds anonymous tops up to the number needed."""
    allows_in_place: ClassVar[bool] = False
    """Whether a top may be the bottom of the same index."""
    shares_data: ClassVar[bool] = False
    """Whether the tops take over the memory of bottom[0]'s data."""

    def __init__(self, param: caffe_pb2.LayerParameter, context: LayerContext) -> None:
        self.param = param
        self.context = context
        self.name = param.name
        self.loss_weights: list[float] = []
        self.param_propagate_down: list[bool] = []
        self.scratch = Scratch()
        self.workspace = context.workspace
        self._params: list[Blob] = []
        self._loss_counts: list[int] = []

    # What a layer gives

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Reads the layer's parameters and makes its params; bottoms have their shapes. Called once."""

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        """Shapes the tops and the working memory after the bottoms. Called before every forward."""
        raise NotImplementedError

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Computes the data of the tops."""
        raise NotImplementedError

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        """Sets the diff of each bottom with propagate_down, and adds to the diff of each param that wants it."""

    def allow_force_backward(self, bottom_index: int) -> bool:
        """Whether a net's force_backward makes this bottom get a gradient."""
        return True

    def close(self) -> None:
        """Gives back what the layer holds outside this process."""

    @property
    def params(self) -> list[Blob]:
        """The layer's trainable blobs."""
        return self._params

    # What the net calls

    def run_setup(self, bottom: Blobs, top: Blobs) -> None:
        """Checks the counts, sets the layer up, shapes its tops and sets their loss weights.

        Raises:
            NetError: the layer cannot be what its parameters and bottoms ask for.
        """
        self.check_counts(len(bottom), len(top))
        self._params = [blob_from_proto(proto) for proto in self.param.blobs]
        try:
            self.setup(bottom, top)
            self.reshape(bottom, top)
            self._set_loss_weights(top)
        except BlobError as error:
            error.layer = error.layer or self.name
            raise

    def run_forward(self, bottom: Blobs, top: Blobs) -> float:
        """Reshapes, runs forward and returns the layer's share of the loss."""
        self.workspace.begin()
        self.reshape(bottom, top)
        with quiet_arithmetic():
            self.forward(bottom, top)
        return self.loss(top)

    def run_backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        """Runs backward."""
        self.workspace.begin()
        with quiet_arithmetic():
            self.backward(top, propagate_down, bottom)

    def loss(self, top: Blobs) -> float:
        """The weighted sum of the tops that are losses."""
        total = 0.0
        for index, weight in enumerate(self.loss_weights):
            if weight:
                self._seed_loss_diff(index, top[index])
                total += weight * float(np.sum(top[index].data))
        return total

    def check_counts(self, num_bottom: int, num_top: int) -> None:
        """Compares the numbers of bottoms and tops with what the class asks for.

        Raises:
            NetError: they do not fit.
        """
        for what, count, exact, low, high in (
            ("bottom", num_bottom, self.exact_num_bottom, self.min_num_bottom, self.max_num_bottom),
            ("top", num_top, self.exact_num_top, self.min_num_top, self.max_num_top),
        ):
            fits = (
                (exact is None or count == exact) and (low is None or count >= low) and (high is None or count <= high)
            )
            if not fits:
                raise self.error(
                    f"takes {_expected_count(exact, low, high)} {what} blob(s), got {count}",
                    remedy=f"give the layer {_expected_count(exact, low, high)} `{what}:` line(s)",
                )
        if self.equal_num_bottom_top and num_bottom != num_top:
            raise self.error(
                f"takes as many tops as bottoms, got {num_bottom} bottom(s) and {num_top} top(s)",
                remedy="give the layer one `top:` line for each `bottom:` line",
            )

    # Helpers for layers

    def error(self, message: str, *, remedy: str = "") -> NetError:
        """Makes a NetError that names this layer."""
        return NetError(f"layer '{self.name}' ({self.type_name}): {message}", remedy=remedy, layer=self.name)

    def canonical_axis(self, axis: int, blob: Blob, field: str) -> int:
        """Turns an axis that may count from the end into one that counts from the start.

        Raises:
            NetError: the blob has no such axis.
        """
        num_axes = len(blob.shape)
        if not blob.is_shaped:
            raise self.error(
                f"{field} is {axis}, but the blob has no shape yet",
                remedy="the layer that fills it must call top[...].reshape(...) in its reshape",
            )
        if not -num_axes <= axis < num_axes:
            raise self.error(
                f"{field} is {axis}, but the blob has shape {blob.shape}",
                remedy=f"choose an axis from {-num_axes} to {num_axes - 1}" if num_axes else "give it a blob with axes",
            )
        return axis % num_axes

    def make_params(self, expected: Sequence[tuple[int, ...]], fillers: Sequence[caffe_pb2.FillerParameter]) -> None:
        """Makes the layer's params and fills them; those that came with the LayerParameter are taken as they are.

        Args:
            expected: the shape of each.
            fillers: what each is filled with.

        Raises:
            NetError: params came, but their number or shapes are not the expected ones; or a filler cannot be.
        """
        if not self._params:
            self._params = [Blob(shape) for shape in expected]
            for blob, filler in zip(self._params, fillers, strict=True):
                fill(blob, filler, self.context.rng, layer=self.name)
            return
        actual = [blob.shape for blob in self._params]
        if actual != list(expected):
            raise self.error(
                f"the net definition gives it params of shapes {actual}, expected {list(expected)}",
                remedy="remove `blobs` from the layer, or give blobs of these shapes",
            )

    def _set_loss_weights(self, top: Blobs) -> None:
        given = self.param.loss_weight
        if given and len(given) != len(top):
            raise self.error(
                f"loss_weight is given {len(given)} time(s) for {len(top)} top(s)",
                remedy="leave loss_weight out, or give it once for each top",
            )
        self.loss_weights = [float(weight) for weight in given] or [0.0] * len(top)
        self._loss_counts = [-1] * len(top)
        for index, weight in enumerate(self.loss_weights):
            if weight and not top[index].is_shaped:
                raise self.error(
                    f"top '{self.param.top[index]}' is a loss, but has no shape",
                    remedy=f"call top[{index}].reshape(...) in the layer's reshape",
                )
            if weight:
                self._seed_loss_diff(index, top[index])

    def _seed_loss_diff(self, index: int, top: Blob) -> None:
        # As in Caffe the gradient of the loss lies in the top's diff from setup on. A top that was reshaped since
        # may have new memory, so its diff is set again.
        if self._loss_counts[index] != top.count:
            top.diff[...] = self.loss_weights[index]
            self._loss_counts[index] = top.count


def _expected_count(exact: int | None, low: int | None, high: int | None) -> str:
    if exact is not None:
        return f"exactly {exact}"
    if low is not None and high is not None:
        return f"{low} to {high}"
    return f"at least {low}" if low is not None else f"at most {high}"
