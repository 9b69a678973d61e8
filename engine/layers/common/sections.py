"""One axis cut into sections: what Concat and Slice share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from farlayer.blobs.blob import Blob
    from farlayer.engine.layer import Layer

_DEFAULT_AXIS = 1


def read_axis(layer: Layer, param: Message, legacy_field: str, blob: Blob) -> int:
    """Reads the axis that is cut: `axis`, or its older spelling, which does not count from the end.

    Args:
        layer: for the error.
        param: the ConcatParameter or SliceParameter.
        legacy_field: the older spelling: concat_dim or slice_dim.
        blob: whose axis it is.

    Raises:
        NetError: both are given, or the blob has no such axis.
    """
    given = {field.name: int(value) for field, value in param.ListFields() if field.name in ("axis", legacy_field)}
    if len(given) > 1:
        raise layer.error(f"both axis and {legacy_field} are given", remedy=f"keep axis, remove {legacy_field}")
    field, axis = next(iter(given.items()), ("axis", _DEFAULT_AXIS))
    return layer.canonical_axis(axis, blob, field)


def sections(axis: int, sizes: Iterable[int]) -> Iterator[tuple[slice, ...]]:
    """Gives for each size the index of the next so many places along an axis."""
    start = 0
    for size in sizes:
        yield (*(slice(None),) * axis, slice(start, start + size))
        start += size
