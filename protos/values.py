"""The closed set of plain values that may cross between processes, and their form on the wire.

| Python                             | `Value` on the wire | notes                                                 |
|------------------------------------|---------------------|-------------------------------------------------------|
| None, bool, str, bytes             | each its own        | str may hold lone surrogates, as some file names do   |
| int                                | integer             | big_integer where 64 bits do not hold it              |
| float, complex                     | bits                | NaN payloads are kept                                 |
| list, tuple, set, frozenset        | Sequence            |                                                       |
| dict                               | Mapping             | insertion order is kept; any hashable keys of these   |
| numpy.ndarray, fixed-size elements | array               | dtype with byte order, shape, C or Fortran order kept |
| NumPy scalars of such a dtype      | array_scalar        | dtype kept                                            |

Types are taken exactly: a subclass (an OrderedDict, a namedtuple, an IntEnum, a masked array) would arrive as something
else than it was, so it is refused. Refused too: arrays of objects, of records, of long doubles and of variable-width
strings, whose bytes mean nothing, or something else, in another process; and anything nested more than 24 deep.

An array that is neither in C nor in Fortran order arrives in C order. An array arrives writable, over memory of its
own. Nothing that is decoded can run code.
"""

from __future__ import annotations

import re
import struct
from typing import Any, Callable, Hashable, Iterable, Literal, Optional, Tuple

import numpy as np

from farlayer.protos import values_pb2
from farlayer.protos.errors import ProtocolError, ValueCrossingError

#: Containers inside containers, the outermost included.
MAX_DEPTH = 24
#: What the oldest NumPy that we support allows.
MAX_ARRAY_DIMENSIONS = 32

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
# Sizes have at most eight digits, so that no arithmetic on them overflows.
_PLAIN_DTYPE = re.compile(
    r"\|[biu]1|[<>](?:[iu][248]|f[248]|c(?:8|16))"
    r"|(?:\|S|[<>]U)(?:0|[1-9]\d{0,7})"
    r"|[<>][Mm]8(?:\[(?:[1-9]\d{0,7})?(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?"
)
_LARGEST_CODE_POINT = 0x10FFFF
_LONGEST_KEY_TEXT = 40


def to_wire(value: object, *, name: str = "value") -> values_pb2.Value:
    """Encodes a value.

    Args:
        value: of the types in this module's table, nested at most MAX_DEPTH deep. Not kept, not written to.
        name: what errors call the value: "args" for `args[0]['loader']`.

    Raises:
        ValueCrossingError: something in it cannot cross; names its place in the value, its type, and an alternative.
    """
    message = values_pb2.Value()
    _encode(value, message, (None, "name", name), 0)
    return message


def from_wire(message: values_pb2.Value) -> Any:  # noqa: ANN401
    """Decodes a value. The result shares no memory with the message.

    Raises:
        ProtocolError: the message is no encoding of a value: it is unset, too deep, inconsistent, or names an unknown
            dtype. Raised for every malformed message, however it came about.
    """
    return _decode(message, depth=0)


# ------------------------------------------------------------------------------------------------------------ encoding

# Where a value is inside the whole: the place of its container, and how it is reached from there. Text is made of it
# only when something is refused.
_Place = Optional[Tuple[Any, str, Any]]


def _encode(value: object, message: values_pb2.Value, place: _Place, depth: int) -> None:
    encode = _ENCODERS.get(type(value))
    if encode is not None:
        encode(value, message)
    elif type(value) in _SEQUENCE_FIELDS:
        _encode_sequence(value, message, place, depth)  # type: ignore[arg-type]
    elif type(value) is dict:
        _encode_mapping(value, message, place, depth)
    elif isinstance(value, np.ndarray):
        _encode_array(value, message.array, place)
    elif isinstance(value, np.generic):
        _encode_array_scalar(value, message.array_scalar, place)
    else:
        raise _refusal(value, place)


def _encode_none(_value: None, message: values_pb2.Value) -> None:
    message.nothing.SetInParent()


def _encode_bool(value: bool, message: values_pb2.Value) -> None:
    message.boolean = value


def _encode_int(value: int, message: values_pb2.Value) -> None:
    if _INT64_MIN <= value <= _INT64_MAX:
        message.integer = value
    else:
        message.big_integer = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)


def _encode_float(value: float, message: values_pb2.Value) -> None:
    message.float_bits = _float_to_bits(value)


def _encode_complex(value: complex, message: values_pb2.Value) -> None:
    message.complex_number.real_bits = _float_to_bits(value.real)
    message.complex_number.imaginary_bits = _float_to_bits(value.imag)
    message.complex_number.SetInParent()  # zeros are a number, too


def _encode_str(value: str, message: values_pb2.Value) -> None:
    message.text = value.encode("utf-8", "surrogatepass")


def _encode_bytes(value: bytes, message: values_pb2.Value) -> None:
    message.octets = value


def _encode_sequence(value: Iterable[object], message: values_pb2.Value, place: _Place, depth: int) -> None:
    _check_depth(place, depth)
    sequence: values_pb2.Sequence = getattr(message, _SEQUENCE_FIELDS[type(value)])
    sequence.SetInParent()  # an empty container is there, too
    form = "index" if isinstance(value, (list, tuple)) else "element"
    for index, item in enumerate(value):
        _encode(item, sequence.items.add(), (place, form, index), depth + 1)


def _encode_mapping(value: dict[object, object], message: values_pb2.Value, place: _Place, depth: int) -> None:
    _check_depth(place, depth)
    message.dict.SetInParent()
    for key, item in value.items():
        entry = message.dict.entries.add()
        _encode(key, entry.key, (place, "key", key), depth + 1)
        _encode(item, entry.value, (place, "index", key), depth + 1)


def _encode_array(value: np.ndarray[Any, Any], message: values_pb2.Array, place: _Place) -> None:
    if type(value) is not np.ndarray and type(value) is not np.memmap:
        raise _refusal(value, place)
    _check_dtype_crosses(value.dtype, place)
    if not value.dtype.itemsize or value.ndim > MAX_ARRAY_DIMENSIONS:
        raise ValueCrossingError(
            f"{_text(place)} is an array of {value.ndim} dimensions and elements of {value.dtype.itemsize} bytes; only "
            f"arrays of up to {MAX_ARRAY_DIMENSIONS} dimensions and elements of some bytes can cross between processes",
            remedy="reshape it before, and back after",
        )
    message.dtype = value.dtype.str
    message.shape.extend(value.shape)
    message.fortran_order = bool(value.flags.fnc)
    message.data = value.tobytes(order="F" if message.fortran_order else "C")


def _encode_array_scalar(value: np.generic, message: values_pb2.Array, place: _Place) -> None:
    if type(value) is not value.dtype.type:  # subclasses of NumPy's scalar types are no plain values either
        raise _refusal(value, place)
    _check_dtype_crosses(value.dtype, place)
    message.dtype = value.dtype.str
    # NumPy's own bytes of a text would lack trailing NULs, and the length where it is empty.
    if isinstance(value, np.bytes_):
        message.data = bytes(value)
    elif isinstance(value, np.str_):
        message.data = value.encode(_utf_32(message.dtype), "surrogatepass")  # str(value) lacks them
    else:
        message.data = value.tobytes()


def _check_dtype_crosses(dtype: np.dtype[Any], place: _Place) -> None:
    if _PLAIN_DTYPE.fullmatch(dtype.str):
        return
    if dtype.hasobject:
        remedy = "give its elements a plain dtype (.astype(numpy.float32)), or pass a list"
    elif dtype.names is not None:
        remedy = "pass a dict of its fields: {name: array[name] for name in array.dtype.names}"
    elif dtype.kind in "fc":
        remedy = "convert it: .astype(numpy.float64), or numpy.complex128; long doubles differ between machines"
    else:
        remedy = "convert it to a dtype of fixed-size numbers or strings, or pass its bytes: .tobytes()"
    raise ValueCrossingError(f"{_text(place)} has dtype {dtype}, which cannot cross between processes", remedy=remedy)


def _check_depth(place: _Place, depth: int) -> None:
    if depth >= MAX_DEPTH:
        # A step for each level: its beginning says enough.
        raise ValueCrossingError(
            f"a value is nested more than {MAX_DEPTH} deep, at {_text(place)[:60]}...",
            remedy="flatten it, or look whether a container holds itself",
        )


def _refusal(value: object, place: _Place) -> ValueCrossingError:
    kind = type(value)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    remedy = next(remedy for base, remedy in _REMEDIES.items() if isinstance(value, base))
    return ValueCrossingError(f"{_text(place)} is of type {name}, which cannot cross between processes", remedy=remedy)


def _text(place: _Place) -> str:
    """A place as Python would write it, where it can: `value[0]['loader']`."""
    if place is None:
        return ""
    container, form, item = place
    if form == "name":
        return str(item)
    if form == "index":
        return f"{_text(container)}[{_key_text(item)}]"
    return f"{'a key' if form == 'key' else 'an element'} of {_text(container)}"


def _key_text(key: object) -> str:
    """A dict's key; long ones are cut, and those that are not simple are named by their type."""
    if isinstance(key, (str, bytes)):
        return repr(key) if len(key) <= _LONGEST_KEY_TEXT else f"{key[:_LONGEST_KEY_TEXT]!r}..."
    simple = key is None or isinstance(key, float) or (isinstance(key, int) and abs(key) <= _INT64_MAX)
    return repr(key) if simple else f"<{type(key).__name__}>"


_ENCODERS: dict[type, Callable[[Any, values_pb2.Value], None]] = {
    type(None): _encode_none,
    bool: _encode_bool,
    int: _encode_int,
    float: _encode_float,
    complex: _encode_complex,
    str: _encode_str,
    bytes: _encode_bytes,
}

_SEQUENCE_FIELDS: dict[type, str] = {list: "list", tuple: "tuple", set: "set", frozenset: "frozen_set"}

_PLAIN_TYPES = (int, float, complex, str, bytes, tuple, list, dict, set, frozenset)

# The first that fits a refused value is its remedy.
_REMEDIES: dict[type, str] = {
    bytearray: "pass bytes(...)",
    memoryview: "pass bytes(...), or an array: numpy.asarray(...)",
    range: "pass list(...)",
    np.ma.MaskedArray: "pass its data and its mask: (array.data, array.mask)",
    np.ndarray: "pass numpy.asarray(...)",
    np.generic: "pass a plain number or text: .item()",
    **{kind: f"pass {kind.__name__}(...)" for kind in _PLAIN_TYPES},
    object: (
        "pass plain values (None, bool, int, float, complex, str, bytes, list, tuple, dict, set, NumPy arrays) and "
        "make the object from them in the worker"
    ),
}


# ------------------------------------------------------------------------------------------------------------ decoding


def _decode(message: values_pb2.Value, *, depth: int) -> Any:  # noqa: ANN401
    kind = message.WhichOneof("kind")
    if kind in _SIMPLE_DECODERS:
        return _SIMPLE_DECODERS[kind](message)
    if kind is None:
        raise ProtocolError("a value without a kind arrived")
    if depth >= MAX_DEPTH:
        raise ProtocolError(f"a value nested more than {MAX_DEPTH} deep arrived")
    if kind == "dict":
        return _decode_mapping(message.dict, depth=depth)
    items = [_decode(item, depth=depth + 1) for item in getattr(message, kind).items]
    if kind == "list":
        return items
    if kind == "tuple":
        return tuple(items)
    return _decode_set(items, frozen=kind == "frozen_set")


def _decode_set(items: list[Any], *, frozen: bool) -> set[Any] | frozenset[Any]:
    for item in items:
        _check_hashable(item)
    result = set(items)
    if len(result) != len(items):
        raise ProtocolError("a set with an element twice arrived")
    return frozenset(result) if frozen else result


def _decode_mapping(message: values_pb2.Mapping, *, depth: int) -> dict[Any, Any]:
    result: dict[Any, Any] = {}
    for entry in message.entries:
        key = _decode(entry.key, depth=depth + 1)
        _check_hashable(key)
        if key in result:
            raise ProtocolError("a dict with a key twice arrived")
        result[key] = _decode(entry.value, depth=depth + 1)
    return result


def _check_hashable(item: Hashable) -> None:
    try:
        hash(item)
    except (TypeError, ValueError) as error:  # ValueError: a timedelta64 without a unit
        raise ProtocolError(f"a {type(item).__name__} as a key of a dict or an element of a set arrived") from error


def _decode_big_integer(message: values_pb2.Value) -> int:
    if not message.big_integer:
        raise ProtocolError("an integer of no bytes arrived")
    return int.from_bytes(message.big_integer, "little", signed=True)


def _decode_text(message: values_pb2.Value) -> str:
    try:
        return message.text.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise ProtocolError("a text that is not UTF-8 arrived") from error


def _decode_complex(message: values_pb2.Value) -> complex:
    number = message.complex_number
    return complex(_bits_to_float(number.real_bits), _bits_to_float(number.imaginary_bits))


def _decode_array(message: values_pb2.Array) -> np.ndarray[Any, Any]:
    dtype = _decode_dtype(message.dtype)
    shape = tuple(message.shape)
    if len(shape) > MAX_ARRAY_DIMENSIONS:
        raise ProtocolError(f"an array of {len(shape)} dimensions arrived; at most {MAX_ARRAY_DIMENSIONS} are allowed")
    size_bytes = dtype.itemsize
    for extent in shape:
        size_bytes *= extent
    if size_bytes != len(message.data):
        raise ProtocolError(
            f"an array arrived whose shape and dtype do not fit its data: {shape} of {message.dtype} is {size_bytes} "
            f"bytes, {len(message.data)} came"
        )
    if not dtype.itemsize:
        raise ProtocolError("an array of elements of no bytes arrived")
    order: Literal["C", "F"] = "F" if message.fortran_order else "C"
    try:
        array: np.ndarray[Any, Any] = np.ndarray(shape, dtype, message.data, order=order).copy(order=order)
    except (ValueError, OverflowError, MemoryError) as error:  # extents beyond NumPy's, beside one that is 0
        raise ProtocolError(f"an array of impossible shape {shape} arrived") from error
    if dtype.kind == "U":
        _check_code_points(array)
    return array


def _decode_array_scalar(message: values_pb2.Array) -> Any:  # noqa: ANN401
    if message.shape or message.fortran_order:
        raise ProtocolError("a NumPy scalar with dimensions arrived")
    if message.dtype[1:2] not in ("S", "U"):
        return _decode_array(message)[()]
    dtype = _decode_dtype(message.dtype)
    if dtype.itemsize != len(message.data):
        raise ProtocolError(f"a NumPy scalar of {message.dtype} arrived with {len(message.data)} bytes")
    if dtype.kind == "S":
        return np.bytes_(message.data)
    try:
        return np.str_(message.data.decode(_utf_32(message.dtype), "surrogatepass"))
    except UnicodeDecodeError as error:
        raise ProtocolError("a NumPy text that is not UTF-32 arrived") from error


def _decode_dtype(name: str) -> np.dtype[Any]:
    if not _PLAIN_DTYPE.fullmatch(name):
        raise ProtocolError(f"an array of unknown dtype {name[:40]!r} arrived")
    try:
        return np.dtype(name)
    except (TypeError, ValueError, OverflowError) as error:  # sizes and units beyond NumPy's
        raise ProtocolError(f"an array of unknown dtype {name!r} arrived") from error


def _check_code_points(array: np.ndarray[Any, Any]) -> None:
    """NumPy reads text without looking; a code point that is none would make a later access fail."""
    code_points = np.frombuffer(array.tobytes(), dtype=array.dtype.byteorder.replace("=", "<") + "u4")
    if code_points.size and int(code_points.max()) > _LARGEST_CODE_POINT:
        raise ProtocolError("an array of text with an impossible code point arrived")


def _utf_32(dtype: str) -> str:
    return "utf-32-le" if dtype.startswith("<") else "utf-32-be"


def _float_to_bits(value: float) -> int:
    return int.from_bytes(struct.pack("<d", value), "little")


def _bits_to_float(bits: int) -> float:
    number: float = struct.unpack("<d", bits.to_bytes(8, "little"))[0]
    return number


_SIMPLE_DECODERS: dict[str, Callable[[values_pb2.Value], Any]] = {
    "nothing": lambda message: None,
    "boolean": lambda message: message.boolean,
    "integer": lambda message: message.integer,
    "big_integer": _decode_big_integer,
    "float_bits": lambda message: _bits_to_float(message.float_bits),
    "complex_number": _decode_complex,
    "text": _decode_text,
    "octets": lambda message: message.octets,
    "array": lambda message: _decode_array(message.array),
    "array_scalar": lambda message: _decode_array_scalar(message.array_scalar),
}
