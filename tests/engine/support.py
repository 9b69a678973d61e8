"""What the engine's tests share: short ways to a net, a layer and a blob."""

import math
import tracemalloc
from collections.abc import Callable, Sequence

import numpy as np

from farlayer.blobs.blob import Blob
from farlayer.client.in_process_host import InProcessHost
from farlayer.engine.kernels.choice import NUMPY, Kernels
from farlayer.engine.layer import Layer, LayerContext
from farlayer.engine.net import Net
from farlayer.engine.net_builder import build_net
from farlayer.engine.prototxt import parse
from farlayer.engine.registry import create_layer
from farlayer.protos import caffe_pb2


def net_param(text: str) -> caffe_pb2.NetParameter:
    return parse(text, caffe_pb2.NetParameter())


def native_net(text: str, phase: caffe_pb2.Phase.ValueType = caffe_pb2.TRAIN, *, seed: int = 1) -> Net:
    return build_net(net_param(text), phase, host=InProcessHost(), rng=np.random.default_rng(seed))


def layer_of(
    text: str, *, phase: caffe_pb2.Phase.ValueType = caffe_pb2.TRAIN, seed: int = 1, kernels: Kernels = NUMPY
) -> Layer:
    """A layer that is not set up, from the inside of its prototxt entry."""
    param = parse(text, caffe_pb2.LayerParameter())
    param.name = param.name or "l"
    param.phase = phase
    return create_layer(param, LayerContext(InProcessHost(), np.random.default_rng(seed), kernels))


def blob_of(values: object) -> Blob:
    array = np.asarray(values, np.float32)
    blob = Blob(array.shape)
    blob.data[...] = array
    return blob


def random_blob(*shape: int, seed: int = 7) -> Blob:
    return blob_of(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


def distinct_blob(*shape: int) -> Blob:
    """Values that are all different by more than any step of a gradient check: no step changes which one is largest."""
    count = math.prod(shape)
    return blob_of((np.random.default_rng(5).permutation(count).reshape(shape) - count / 2) * 0.1)


def set_up(layer: Layer, bottom: Sequence[Blob], num_top: int = 1) -> list[Blob]:
    """Sets a layer up with new tops, all its params learning, and returns the tops."""
    top = [Blob() for _ in range(num_top)]
    layer.run_setup(bottom, top)
    layer.param_propagate_down = [True] * len(layer.params)
    return top


def run(layer: Layer, bottom: Sequence[Blob], num_top: int = 1) -> list[Blob]:
    """Sets a layer up, runs forward and returns the tops."""
    top = set_up(layer, bottom, num_top)
    layer.run_forward(bottom, top)
    return top


def untouched(blob: Blob) -> None:
    """Marks the diff of a blob, so that `assert_untouched` sees whether it was written."""
    blob.diff.fill(17)


def assert_untouched(blob: Blob) -> None:
    assert (blob.diff == 17).all(), "the diff was written although propagate_down is False"


def peak_bytes(call: Callable[[], object]) -> int:
    """The most memory that a call holds at once, besides what was held before."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        call()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak - before


def assert_nothing_is_allocated(
    layer: Layer,
    bottom: Sequence[Blob],
    num_top: int = 1,
    *,
    backward: bool = True,
    propagate_down: Sequence[bool] | None = None,
) -> None:
    """Runs a layer until it is warm, then once more, and compares the memory taken meanwhile with the bottoms'.

    Python's own objects take a few KiB, so the bottoms should hold some 100 KiB; 700 KiB where NumPy converts types,
    whose buffers take 64. Arrays of one value a sample or channel pass; an array the size of a bottom or top does not.

    Args:
        layer: one that is not set up.
        bottom: its bottoms.
        num_top: how many tops it has.
        backward: whether it runs backward, too.
        propagate_down: which bottoms get a gradient; None for all.
    """
    top = set_up(layer, bottom, num_top)
    wanted = [True] * len(bottom) if propagate_down is None else propagate_down

    def run_once() -> None:
        layer.run_forward(bottom, top)
        if backward:
            layer.run_backward(top, wanted, bottom)

    for _ in range(2):
        run_once()
    bound = max(sum(4 * blob.count for blob in (*bottom, *top)) // 10, 16 << 10)
    taken = peak_bytes(run_once)
    assert taken < bound, f"{taken} bytes were allocated in a steady state, expected less than {bound}"
