"""Where sessions of layers come from: the port that an engine uses, and what its implementations share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Protocol, Self

from farlayer.blobs.segment import Allocator
from farlayer.client.options import ClientOptions
from farlayer.client.remote_layer import RemoteLayer
from farlayer.client.session import Connector, LayerSession, LayerSpec


class LayerHost(Protocol):
    """Where an engine gets the sessions of its Python layers."""

    def session(self, spec: LayerSpec) -> LayerSession:
        """Makes the session of one layer. Nothing runs before its setup."""

    def allocator(self, layer_name: str) -> Allocator:
        """What blobs that touch this layer should be allocated with, so that they need not be copied."""


class Host(ABC):
    """A LayerHost that keeps its sessions and ends them, and hands out layers for NumPy arrays. `with` starts it."""

    def __init__(self, options: ClientOptions | None = None) -> None:
        self._options = options or ClientOptions()
        self._sessions: list[LayerSession] = []
        self._names = 0

    @abstractmethod
    def _place(self, layer_name: str) -> tuple[Connector, str]:
        """The way to where a layer runs, and which worker there is meant."""

    @abstractmethod
    def start(self) -> None:
        """Makes ready what layers will run in."""

    def close(self) -> None:
        """Releases all layers, and ends what `start` began. Idempotent."""
        for session in self._sessions:
            session.close()
        self._sessions.clear()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def layer(
        self, module: str, layer: str, *, param_str: str = "", phase: str = "TRAIN", tops: int = 1, name: str = ""
    ) -> RemoteLayer:
        """A layer to be called with NumPy arrays; see docs/client.md.

        Args:
            module, layer, param_str: as in python_param of a prototxt.
            phase: "TRAIN" or "TEST".
            tops: how many tops the layer fills.
            name: for messages and for the choice of the worker; by default a new one each time.
        """
        self._names += 1
        spec = LayerSpec(name or f"{layer}-{self._names}", module, layer, param_str, phase)
        return RemoteLayer(self.session(spec), tops=tops, allocate=self.allocator(spec.name))

    def session(self, spec: LayerSpec) -> LayerSession:
        """See LayerHost. Closed with the host."""
        connector, worker = self._place(spec.name)
        session = LayerSession(spec, connector, self._options, worker)
        # Those that their users closed are forgotten, with the memory of their blobs: a pool may live for months.
        self._sessions = [kept for kept in self._sessions if not kept.is_closed]
        self._sessions.append(session)
        return session

    def allocator(self, layer_name: str) -> Allocator:
        """See LayerHost."""
        return self._place(layer_name)[0].allocator
