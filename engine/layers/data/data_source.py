"""What the layers that read files share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from farlayer.protos.errors import InputError

if TYPE_CHECKING:
    from farlayer.engine.layer import Layer


@contextmanager
def named_errors(layer: Layer) -> Iterator[None]:
    """Makes errors about files and fields name the layer that they belong to.

    Raises:
        NetError: instead of any InputError.
    """
    try:
        yield
    except InputError as error:
        if error.layer:
            raise
        raise layer.error(error.message, remedy=error.remedy) from error


def positive(layer: Layer, value: int, field: str) -> int:
    """Gives a value that has to be more than 0.

    Raises:
        NetError: it is not.
    """
    if value < 1:
        raise layer.error(f"{field} is {value}, expected 1 or more", remedy=f"set {field}")
    return value


def given(layer: Layer, value: str, field: str) -> str:
    """Gives a path that has to be there.

    Raises:
        NetError: it is empty.
    """
    if not value:
        raise layer.error(f"{field} is missing", remedy=f"set {field}")
    return value
