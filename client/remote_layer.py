"""A Python layer that is called with NumPy arrays, without a net."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farlayer.blobs.blob import Blob
from farlayer.blobs.segment import Allocator
from farlayer.client.session import LayerSession, SessionReport
from farlayer.protos.errors import BlobError, ProtocolError

Array = NDArray[np.float32]
Result = TypeVar("Result")


class RemoteLayer:
    """One instance of a layer class, in a worker. Made by `Pool.layer`.

        with local_pool() as pool:
            loss = pool.layer("pyloss", "EuclideanLossLayer")
            (value,) = loss.forward(prediction, target)
            d_prediction, d_target = loss.backward(1.0)

    Arrays that go in are copied into the layer's blobs (as float32); arrays that come out are the caller's own. Who
    wants no copies works on the blobs: fill `layer.bottom[i].data`, call `layer.session.forward()`, read
    `layer.top[i].data`.

    Attributes:
        bottom: the input blobs, made at setup.
        top: the output blobs, made at setup.
        session: the calls at the level of blobs.

    Raises (all calls): see LayerSession.
    """

    def __init__(self, session: LayerSession, *, tops: int, allocate: Allocator) -> None:
        self.session = session
        self.bottom: list[Blob] = []
        self.top: list[Blob] = []
        self._tops = tops
        self._allocate = allocate

    def setup(self, *bottoms: ArrayLike) -> None:
        """Makes the instance: runs setup, then reshape. `forward` does it where it was not done.

        Args:
            bottoms: one array for each bottom; number and shapes are what the layer's setup sees.
        """
        if self.session.is_set_up:
            name = self.session.spec.name
            raise ProtocolError(f"layer '{name}' was set up before", remedy="make another layer", layer=name)
        self.bottom = [Blob(allocate=self._allocate) for _ in bottoms]
        self.top = [Blob(allocate=self._allocate) for _ in range(self._tops)]
        self._fill(bottoms)
        self.session.setup(self.bottom, self.top)
        self.session.reshape()

    def reshape(self, *shapes: Sequence[int]) -> list[tuple[int, ...]]:
        """Gives the bottoms new shapes (none: keeps them) and runs the layer's reshape.

        Returns:
            The shapes of the tops.
        """
        if shapes:
            self._check_count(len(shapes))
            for blob, shape in zip(self.bottom, shapes, strict=True):
                blob.reshape(shape)
        self.session.reshape()
        return [blob.shape for blob in self.top]

    def forward(self, *bottoms: ArrayLike) -> list[Array]:
        """Runs the layer's reshape and forward.

        Args:
            bottoms: one array for each bottom, or none at all to use what the blobs hold.

        Returns:
            One array for each top.
        """
        self._prepare(bottoms)
        self.session.forward()
        return self._tops_data()

    def backward(self, *top_diffs: ArrayLike, propagate_down: Sequence[bool] | None = None) -> list[Array | None]:
        """Runs the layer's backward, after a forward.

        Args:
            top_diffs: the gradient of each top, or none at all to use what the blobs hold. A number fills a blob.
            propagate_down: for which bottoms a gradient is wanted; None for all.

        Returns:
            One array for each bottom; None where no gradient was wanted. Gradients of params are in `params[k].diff`,
            which the layer overwrites or adds to, as it was written.
        """
        flags = self._prepare_backward(top_diffs, propagate_down)
        self.session.backward(flags)
        return self._bottom_diffs(flags)

    def setup_async(self, *bottoms: ArrayLike) -> Future[None]:
        """`setup`, without waiting: the arrays are copied now."""
        copies = [np.array(bottom, np.float32) for bottom in bottoms]
        return self._later(lambda: self.setup(*copies))

    def reshape_async(self, *shapes: Sequence[int]) -> Future[list[tuple[int, ...]]]:
        """`reshape`, without waiting."""
        return self._later(lambda: self.reshape(*shapes))

    def forward_async(self, *bottoms: ArrayLike) -> Future[list[Array]]:
        """`forward`, without waiting: the arrays are copied now. The next call waits its turn."""
        copies = [np.array(bottom, np.float32) for bottom in bottoms]
        return self._later(lambda: self.forward(*copies))

    def backward_async(
        self, *top_diffs: ArrayLike, propagate_down: Sequence[bool] | None = None
    ) -> Future[list[Array | None]]:
        """`backward`, without waiting: the arrays are copied now."""
        copies = [np.array(diff, np.float32) for diff in top_diffs]
        return self._later(lambda: self.backward(*copies, propagate_down=propagate_down))

    def invoke(self, method: str, *args: object, **kwargs: object) -> object:
        """Calls any other method of the layer object, with plain values; see LayerSession.invoke."""
        return self.session.invoke(method, *args, **kwargs)

    @property
    def params(self) -> list[Blob]:
        """The blobs that the layer added; fill `params[k].data`, read `params[k].diff`."""
        return self.session.params

    def report(self) -> SessionReport:
        """Where the layer runs, by which carrier and transport and why, and what it did so far."""
        return self.session.report()

    def close(self) -> None:
        """Releases the instance. Its blobs stay valid."""
        self.session.close()

    def __enter__(self) -> RemoteLayer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # Arrays and blobs

    def _later(self, call: Callable[[], Result]) -> Future[Result]:
        return self.session.run_async(call)

    def _prepare(self, bottoms: Sequence[ArrayLike]) -> None:
        if not self.session.is_set_up:
            self.setup(*bottoms)
        elif bottoms:
            self._fill(bottoms)

    def _fill(self, bottoms: Sequence[ArrayLike]) -> None:
        self._check_count(len(bottoms))
        for blob, bottom in zip(self.bottom, bottoms, strict=True):
            array = np.asarray(bottom, np.float32)
            blob.reshape(array.shape)
            blob.data[...] = array

    def _check_count(self, count: int) -> None:
        if count != len(self.bottom):
            name = self.session.spec.name
            raise BlobError(
                f"layer '{name}' was set up with {len(self.bottom)} bottoms; {count} came",
                remedy="give as many arrays as at setup, or make another layer",
                layer=name,
            )

    def _tops_data(self) -> list[Array]:
        return [blob.data.copy() for blob in self.top]

    def _prepare_backward(self, top_diffs: Sequence[ArrayLike], propagate_down: Sequence[bool] | None) -> list[bool]:
        name = self.session.spec.name
        flags = [True] * len(self.bottom) if propagate_down is None else [bool(flag) for flag in propagate_down]
        if len(flags) != len(self.bottom):
            raise BlobError(
                f"layer '{name}' has {len(self.bottom)} bottoms; propagate_down has {len(flags)} flags", layer=name
            )
        if top_diffs:
            self._fill_top_diffs(top_diffs)
        return flags

    def _fill_top_diffs(self, top_diffs: Sequence[ArrayLike]) -> None:
        name = self.session.spec.name
        if len(top_diffs) != len(self.top):
            raise BlobError(f"layer '{name}' has {len(self.top)} tops; {len(top_diffs)} diffs came", layer=name)
        for blob, diff in zip(self.top, top_diffs, strict=True):
            array = np.asarray(diff, np.float32)
            if array.shape not in ((), blob.shape):
                raise BlobError(f"layer '{name}': a top of shape {blob.shape} got a diff of {array.shape}", layer=name)
            blob.diff[...] = array

    def _bottom_diffs(self, flags: Sequence[bool]) -> list[Array | None]:
        return [blob.diff.copy() if flag else None for blob, flag in zip(self.bottom, flags, strict=True)]
