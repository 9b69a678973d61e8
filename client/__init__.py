"""Runs Python layers in worker processes: pools of workers, and layers that are called with NumPy arrays.

with farlayer.client.local_pool(workers=2) as pool:
    loss = pool.layer("pyloss", "EuclideanLossLayer")
    (value,) = loss.forward(prediction, target)

The manual is docs/client.md.
"""

from farlayer.client.host import LayerHost
from farlayer.client.in_process_host import InProcessHost
from farlayer.client.options import ClientOptions
from farlayer.client.pool import Pool, local_pool, static_pool
from farlayer.client.remote_layer import RemoteLayer
from farlayer.client.session import LayerSession, LayerSpec, SessionReport

__all__ = [
    "ClientOptions",
    "InProcessHost",
    "LayerHost",
    "LayerSession",
    "LayerSpec",
    "Pool",
    "RemoteLayer",
    "SessionReport",
    "local_pool",
    "static_pool",
]
