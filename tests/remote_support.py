"""What the tests of the remote core share: hosts for layers, blobs with contents, waiting for processes."""

import os
import select
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from farlayer.blobs.blob import Blob
from farlayer.blobs.segment import Allocator, heap
from farlayer.client import ClientOptions, InProcessHost, LayerSession, LayerSpec, Pool, local_pool
from farlayer.client.remote_layer import RemoteLayer

LAYERS = Path(__file__).parent / "remote_layers"

CARRIERS: dict[str, ClientOptions | None] = {
    "in-process": None,
    "mailbox": ClientOptions(carrier="mailbox", transport="shared"),
    "grpc-shared": ClientOptions(carrier="grpc", transport="shared"),
    "grpc-streamed": ClientOptions(carrier="grpc", transport="streamed"),
}
REMOTE = [name for name in CARRIERS if name != "in-process"]


@contextmanager
def layers_on_path() -> Iterator[None]:
    """Has this process find the modules of `LAYERS`, for layers that run in it."""
    sys.path.insert(0, str(LAYERS))
    try:
        yield
    finally:
        sys.path.remove(str(LAYERS))


def open_pool(carrier: str, *, workers: int | None = None, timeout_s: float = 60.0) -> Pool:
    """A local pool that uses one carrier and finds the test layers."""
    options = CARRIERS[carrier]
    assert options is not None, "in-process is no pool"
    options = ClientOptions(carrier=options.carrier, transport=options.transport, timeout_s=timeout_s)
    return local_pool(workers, python_path=[str(LAYERS)], options=options)


@dataclass
class Run:
    """One layer with its blobs, set up."""

    session: LayerSession
    bottom: list[Blob]
    top: list[Blob]

    def forward(self) -> None:
        self.session.forward()

    def backward(self, *flags: bool) -> None:
        self.session.backward(flags or [True] * len(self.bottom))

    @property
    def params(self) -> list[Blob]:
        return self.session.params


@dataclass
class Host:
    """Where the layers of a contract test run."""

    name: str
    pool: Pool | InProcessHost
    allocate: Allocator = heap
    runs: list[LayerSession] = field(default_factory=list)

    def start(
        self,
        layer: str,
        bottoms: Sequence[ArrayLike | Blob] = (),
        *,
        tops: int | Sequence[Blob] = 1,
        param_str: str = "",
        phase: str = "TRAIN",
        module: str = "contract_layers",
    ) -> Run:
        """Makes blobs from arrays, and runs setup and reshape."""
        run = self.prepare(layer, bottoms, tops=tops, param_str=param_str, phase=phase, module=module)
        run.session.setup(run.bottom, run.top)
        run.session.reshape()
        return run

    def prepare(
        self,
        layer: str,
        bottoms: Sequence[ArrayLike | Blob] = (),
        *,
        tops: int | Sequence[Blob] = 1,
        param_str: str = "",
        phase: str = "TRAIN",
        module: str = "contract_layers",
    ) -> Run:
        """As `start`, with nothing run yet."""
        bottom = [given if isinstance(given, Blob) else blob_of(given, self.allocate) for given in bottoms]
        top = [Blob(allocate=self.allocate) for _ in range(tops)] if isinstance(tops, int) else list(tops)
        session = self.pool.session(LayerSpec(f"the {layer}", module, layer, param_str, phase))
        self.runs.append(session)
        return Run(session, bottom, top)

    def layer(self, layer: str, *, tops: int = 1, param_str: str = "") -> RemoteLayer:
        """A layer to be called with arrays."""
        made = self.pool.layer("contract_layers", layer, tops=tops, param_str=param_str)
        self.runs.append(made.session)
        return made

    def close_runs(self) -> None:
        for session in self.runs:
            session.close()
        self.runs.clear()


@contextmanager
def open_host(carrier: str) -> Iterator[Host]:
    """A host whose layers share one worker, which is kept alive, so that a layer costs little."""
    if CARRIERS[carrier] is None:
        with layers_on_path(), InProcessHost() as local:
            yield Host(carrier, local)
        return
    with open_pool(carrier, workers=1) as pool:
        anchor = pool.layer("contract_layers", "Double")
        anchor.setup([1.0])
        yield Host(carrier, pool)


def blob_of(values: ArrayLike, allocate: Allocator = heap) -> Blob:
    """A blob with contents."""
    array = np.asarray(values, np.float32)
    blob = Blob(array.shape, allocate=allocate)
    blob.data[...] = array
    return blob


def wait_until_gone(pids: Sequence[int], timeout_s: float) -> list[int]:
    """Waits for processes to end, children of ours or not. Returns those that did not."""
    deadline = time.monotonic() + timeout_s
    left = []
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
                left.append(pid)
        finally:
            os.close(descriptor)
    return left


def wait_for(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    """Waits for what has no event to wait for: the state of another process."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


class Gate:
    """Two FIFOs by which a layer tells that it runs, and waits to be let go on. Its path goes into param_str."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "gate"
        os.mkfifo(f"{self.path}.started")
        os.mkfifo(f"{self.path}.go")

    def wait_started(self) -> str:
        """Returns what the layer says when it starts."""
        return Path(f"{self.path}.started").read_text(encoding="utf-8")

    def let_go(self) -> None:
        """Has the layer go on."""
        Path(f"{self.path}.go").write_text("go", encoding="utf-8")
