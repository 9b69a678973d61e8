"""Which blobs of a net need memory that the worker of a Python layer can see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from farlayer.blobs.segment import Allocator, heap
from farlayer.engine.registry import layer_class

if TYPE_CHECKING:
    from farlayer.client.host import LayerHost
    from farlayer.protos import caffe_pb2


def plan_allocators(param: caffe_pb2.NetParameter, host: LayerHost) -> dict[str, Allocator]:
    """Finds the blobs that a Python layer reads or writes, and what to allocate them with.

    Where a layer's tops take over the memory of its bottom (Split, Flatten, Reshape), the bottom counts as touched when
    a top is. A blob between two Python layers of different hosts gets the allocator that is not the plain heap.

    Args:
        param: the definition with its Splits inserted.
        host: where the Python layers live.

    Returns:
        The allocator of each such blob, by name. All others stay on the heap.

    Raises:
        NetError: a layer's type is unknown; names the first such layer.
    """
    shares_data = [layer_class(layer.type, layer=layer.name).shares_data for layer in param.layer]
    allocators: dict[str, Allocator] = {}
    for layer in param.layer:
        if layer.type == "Python":
            allocate = host.allocator(layer.name)
            for blob in (*layer.bottom, *layer.top):
                if allocators.get(blob, heap) is heap:
                    allocators[blob] = allocate
    # Backwards: a chain of sharing layers hands the need up to the blob that owns the memory.
    for layer, shares in zip(reversed(param.layer), reversed(shares_data), strict=True):
        if layer.bottom and shares:
            for top in layer.top:
                if top in allocators and allocators.get(layer.bottom[0], heap) is heap:
                    allocators[layer.bottom[0]] = allocators[top]
    return allocators
