"""Protobuf's wire format as large files need it: messages are walked without copying, and written piece by piece.

The library's own way through `repeated float` makes a Python object of every number in older versions, and holds the
whole message besides the file. Here the numbers stay where they are: in the file's bytes, or in a blob.

Source: the encoding guide of Protocol Buffers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from google.protobuf.message import DecodeError

Chunk: TypeAlias = bytes | memoryview

_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10
_LOW_BITS, _HIGH_BIT = 0x7F, 0x80


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        number: as in the schema.
        content: of a string, a message or packed numbers; None for a number.
        whole: the field as it is written, its number included.
    """

    number: int
    content: memoryview | None
    whole: memoryview


def fields(message: memoryview) -> Iterator[Field]:
    """The fields of a message in the order in which they are written.

    Raises:
        DecodeError: the message is truncated, or none.
    """
    position = 0
    while position < len(message):
        start = position
        tag, position = _varint(message, position)
        number, wire_type = tag >> 3, tag & 7
        content_start = position
        if wire_type == _VARINT:
            _, position = _varint(message, position)
        elif wire_type == _DELIMITED:
            size, content_start = _varint(message, position)
            position = content_start + size
        elif wire_type in {_FIXED32, _FIXED64}:
            position += 4 if wire_type == _FIXED32 else 8
        else:
            raise DecodeError(f"wire type {wire_type} at byte {start}")
        if not number or position > len(message):
            raise DecodeError(f"field {number} at byte {start} ends at byte {position} of {len(message)}")
        content = message[content_start:position] if wire_type == _DELIMITED else None
        yield Field(number, content, message[start:position])


def take_out(message: memoryview, numbers: Collection[int]) -> tuple[dict[int, list[memoryview]], bytes]:
    """Parts the large fields of a message from the small ones.

    Args:
        message: is not changed.
        numbers: of the large fields.

    Returns:
        The contents of the large fields, by number; and a message of all other fields, among them fields of these
        numbers that have no content of their own.

    Raises:
        DecodeError: the message is truncated, or none.
    """
    large: dict[int, list[memoryview]] = {}
    small = bytearray()
    for field in fields(message):
        if field.number in numbers and field.content is not None:
            large.setdefault(field.number, []).append(field.content)
        else:
            small += field.whole
    return large, bytes(small)


def nested(number: int, chunks: Sequence[Chunk]) -> list[Chunk]:
    """A field that holds a message, a string or packed numbers, from the pieces of its content."""
    size_bytes = sum(len(chunk) for chunk in chunks)
    return [_as_varint(number << 3 | _DELIMITED) + _as_varint(size_bytes), *chunks]


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """The number at a position, and the position behind it."""
    value = 0
    for index, byte in enumerate(message[position : position + _MAX_VARINT_BYTES]):
        value |= (byte & _LOW_BITS) << 7 * index
        if byte < _HIGH_BIT:
            return value, position + index + 1
    raise DecodeError(f"no number ends in the bytes from {position} on")


def _as_varint(value: int) -> bytes:
    written = bytearray()
    while value >= _HIGH_BIT:
        written.append(value & _LOW_BITS | _HIGH_BIT)
        value >>= 7
    written.append(value)
    return bytes(written)
