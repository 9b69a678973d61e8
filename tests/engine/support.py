"""What the engine's tests share: short ways to a net, a layer and a blob."""

import tracemalloc
from collections.abc import Sequence

import numpy as np

from farlayer.blobs.blob import Blob
from farlayer.client.in_process_host import InProcessHost
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


def layer_of(text: str, *, phase: caffe_pb2.Phase.ValueType = caffe_pb2.TRAIN, seed: int = 1) -> Layer:
    """A layer that is not set up, from the inside of its prototxt entry."""
    param = parse(text, caffe_pb2.LayerParameter())
    param.name = param.name or "l"
    param.phase = phase
    return create_layer(param, LayerContext(InProcessHost(), np.random.default_rng(seed)))


def blob_of(values: object) -> Blob:
    array = np.asarray(values, np.float32)
    blob = Blob(array.shape)
    blob.data[...] = array
    return blob


def random_blob(*shape: int, seed: int = 7) -> Blob:
    return blob_of(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


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


def assert_nothing_is_allocated(
    layer: Layer, bottom: Sequence[Blob], num_top: int = 1, *, backward: bool = True
) -> None:
    """Runs a layer until it is warm, then once more, and compares the memory taken meanwhile with the bottoms'.

    Python's own objects take a few KiB, so the bottoms should hold some 100 KiB. Arrays of one value a sample or
    channel pass; an array the size of a bottom or top does not.
    """
    top = set_up(layer, bottom, num_top)

    def run_once() -> None:
        layer.run_forward(bottom, top)
        if backward:
            layer.run_backward(top, [True] * len(bottom), bottom)

    for _ in range(2):
        run_once()
    bound = max(sum(4 * blob.count for blob in (*bottom, *top)) // 10, 16 << 10)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        run_once()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < bound, f"{peak - before} bytes were allocated in a steady state, expected less than {bound}"
