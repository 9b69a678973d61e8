"""A layer's weights as a file holds them, whichever format it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from farlayer.engine.blob_proto import StoredBlob


@dataclass(frozen=True)
class StoredLayer:
    """The weights of one layer.

    Attributes:
        name: of the layer.
        blobs: by the place of each among the layer's params. HDF5 files lack those that the layer shares with an
            earlier one.
    """

    name: str
    blobs: Mapping[int, StoredBlob]
