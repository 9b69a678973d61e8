"""Plain values: every one arrives bit for bit, nothing else leaves, and no message does harm."""

from __future__ import annotations

import collections
import enum
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from farlayer.protos import values_pb2
from farlayer.protos.errors import ProtocolError, ValueCrossingError
from farlayer.protos.values import MAX_DEPTH, from_wire, to_wire


def cross(value: Any) -> Any:
    """What arrives: encoded, sent as bytes, decoded."""
    return from_wire(values_pb2.Value.FromString(to_wire(value).SerializeToString()))


def bits(number: float) -> bytes:
    return struct.pack("<d", number)


def assert_same(sent: Any, arrived: Any) -> None:
    """Compares types and bits all the way down."""
    assert type(arrived) is type(sent)
    if isinstance(sent, np.ndarray):
        assert arrived.dtype == sent.dtype
        assert arrived.dtype.str == sent.dtype.str
        assert arrived.shape == sent.shape
        assert arrived.tobytes() == sent.tobytes()
    elif isinstance(sent, np.generic):
        assert arrived.dtype == sent.dtype
        assert arrived.tobytes() == sent.tobytes()
    elif isinstance(sent, float):
        assert bits(arrived) == bits(sent)
    elif isinstance(sent, complex):
        assert (bits(arrived.real), bits(arrived.imag)) == (bits(sent.real), bits(sent.imag))
    elif isinstance(sent, (list, tuple)):
        assert len(arrived) == len(sent)
        for one, other in zip(sent, arrived, strict=True):
            assert_same(one, other)
    elif isinstance(sent, dict):
        for (key, one), (other_key, other) in zip(sent.items(), arrived.items(), strict=True):
            assert_same(key, other_key)
            assert_same(one, other)
    elif isinstance(sent, (set, frozenset)):
        assert len(arrived) == len(sent)
        assert sorted(map(fingerprint, arrived)) == sorted(map(fingerprint, sent))
    else:
        assert arrived == sent


def fingerprint(value: Any) -> str:
    """Text that two hashable values share where they have the same types and bits (NaN is not equal to itself)."""
    if isinstance(value, tuple):
        return f"tuple({', '.join(map(fingerprint, value))})"
    if isinstance(value, frozenset):
        return f"frozenset({', '.join(sorted(map(fingerprint, value)))})"
    return to_wire(value).SerializeToString().hex()


DTYPES = (
    hnp.boolean_dtypes()
    | hnp.integer_dtypes(endianness="?")
    | hnp.unsigned_integer_dtypes(endianness="?")
    | hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64))
    | hnp.complex_number_dtypes(endianness="?", sizes=(64, 128))
    | hnp.byte_string_dtypes(min_len=1, max_len=5)
    | hnp.unicode_string_dtypes(endianness="?", min_len=1, max_len=5)
    | hnp.datetime64_dtypes(endianness="?")
    | hnp.timedelta64_dtypes(endianness="?")
)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """Arrays of any bits, in any order of memory, with gaps or without."""
    dtype, shape = draw(DTYPES), draw(SHAPES)
    if dtype.kind in "SU":
        array = draw(hnp.arrays(dtype, shape))
    else:
        size = math.prod(shape)
        content = draw(st.binary(min_size=size * dtype.itemsize, max_size=size * dtype.itemsize))
        if dtype.kind == "b":
            content = bytes(byte & 1 for byte in content)
        array = np.frombuffer(content, dtype).reshape(shape)
    layout = draw(st.sampled_from(["C", "F", "transposed", "strided", "reversed"]))
    if layout == "F":
        return np.asfortranarray(array) if array.ndim else array
    if layout == "transposed":
        return array.T
    if layout == "strided" and array.ndim:
        return array[::2]
    if layout == "reversed" and array.ndim:
        return array[..., ::-1]
    return array


ANY_FLOAT = st.integers(0, 2**64 - 1).map(lambda number: struct.unpack("<d", number.to_bytes(8, "little"))[0])
ANY_TEXT = st.text(st.characters(codec=None)) | st.text(st.characters(categories=["Cs"]))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**200), 2**200)
    | ANY_FLOAT
    | st.builds(complex, ANY_FLOAT, ANY_FLOAT)
    | ANY_TEXT
    | st.binary()
)
NUMPY_SCALARS = arrays().filter(lambda array: array.size > 0).map(lambda array: array.reshape(-1)[0])
HASHABLE = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3), max_leaves=5
)
VALUES = st.recursive(
    SCALARS | arrays() | NUMPY_SCALARS | HASHABLE,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(HASHABLE, inner, max_size=4)
        | st.sets(HASHABLE, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_any_value_arrives_bit_for_bit(value: Any) -> None:
    assert_same(value, cross(value))


@given(arrays())
def test_an_array_arrives_bit_for_bit_in_its_order_and_owns_writable_memory(array: np.ndarray[Any, Any]) -> None:
    arrived = cross(array)
    assert_same(array, arrived)
    assert arrived.flags.fnc == array.flags.fnc
    assert arrived.flags.c_contiguous or arrived.flags.f_contiguous
    assert arrived.flags.writeable
    assert arrived.flags.owndata


@pytest.mark.parametrize(
    "value",
    [
        2**63 - 1,
        -(2**63),
        2**63,
        -(2**63) - 1,
        2**64,
        -(2**1000),
        0.0,
        -0.0,
        math.inf,
        struct.unpack("<d", b"\x01\x00\x00\x00\x00\x00\xf0\x7f")[0],  # a signalling NaN with a payload
        0j,
        complex(-0.0, math.nan),
        "",
        "a\0b",
        "\ud800",
        "file\udcff.png",
        "\U0010ffff",
        b"",
        [],
        (),
        {},
        set(),
        frozenset(),
        {(1, (None, b"x")): [{"k": ()}], 1.5: True},
        np.zeros((), np.float32),
        np.zeros((0, 3), ">f8"),
        np.zeros((2, 0), order="F"),
        np.arange(6, dtype=">i2").reshape(2, 3).T,
        np.array(["2020-01-01", "NaT"], "M8[25us]"),
        np.array([b"a\0", b""], "S3"),
        np.float16(1.5),
        np.bool_(True),
        np.datetime64("NaT", "s"),
        np.timedelta64(5, "s"),
        np.str_(""),
        np.str_("a\0"),
        np.str_("\ud800"),
        np.bytes_(b"a\0"),
        np.array(0x7FA00001, np.uint32).view(np.float32)[()],
        np.arange(24.0).reshape(2, 3, 4)[:, ::2, ::-1],
    ],
    ids=repr,
)
def test_the_ends_of_each_kind_arrive_bit_for_bit(value: Any) -> None:
    assert_same(value, cross(value))


@pytest.mark.filterwarnings("ignore:The 'generic' unit:DeprecationWarning")  # NumPy 2.5 and later
def test_times_without_a_unit_arrive_bit_for_bit() -> None:
    for value in (np.datetime64("NaT"), np.timedelta64(5)):
        assert_same(value, cross(value))


def test_a_memory_mapped_array_arrives_as_an_array(tmp_path: Any) -> None:
    path = tmp_path / "array.bin"
    path.write_bytes(np.arange(4, dtype=np.int16).tobytes())
    arrived = cross(np.memmap(path, np.int16, mode="r"))
    assert type(arrived) is np.ndarray
    assert arrived.tolist() == [0, 1, 2, 3]


def test_encoding_changes_neither_value_nor_message_when_repeated() -> None:
    value = {"a": [np.arange(3), {1, 2}]}
    assert to_wire(value) == to_wire(value)
    assert value["a"][1] == {1, 2}


class Loader:
    """Some object of a user."""


class Colour(enum.IntEnum):
    """Some enumeration of a user."""

    RED = 1


Point = collections.namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "place", "type_name", "alternative"),
    [
        ([{"loader": Loader()}], "args[0]['loader']", "Loader", "plain values"),
        ({3: (1, print)}, "args[3][1]", "builtin_function_or_method", "plain values"),
        (bytearray(b"x"), "args", "bytearray", "bytes(...)"),
        (range(3), "args", "range", "list(...)"),
        ([Colour.RED], "args[0]", "Colour", "int(...)"),
        (Point(1, 2), "args", "Point", "tuple(...)"),
        (collections.OrderedDict(a=1), "args", "OrderedDict", "dict(...)"),
        ({Loader(): 1}, "a key of args", "Loader", "plain values"),
        ({"s": {Loader()}}, "an element of args['s']", "Loader", "plain values"),
        ({(1, 2): [Loader()]}, "args[<tuple>][0]", "Loader", "plain values"),
        ({"k" * 100: Loader()}, f"args['{'k' * 40}'...]", "Loader", "plain values"),
        (np.ma.masked_array([1, 2], [False, True]), "args", "MaskedArray", "array.mask"),
        (np.recarray((1,), [("a", "i4")]), "args", "recarray", "numpy.asarray(...)"),
        ([np.array([Loader()])], "args[0]", "object", "plain dtype"),
        (np.zeros(2, [("a", "i4")]), "args", "[('a', '<i4')]", "array.dtype.names"),
        (np.zeros(2, np.longdouble), "args", "float128", "numpy.float64"),
        (np.zeros(2, "V4"), "args", "V4", "tobytes"),
        (np.longdouble(1), "args", "float128", "numpy.float64"),
    ],
)
def test_a_value_that_cannot_cross_is_named_by_its_place_with_an_alternative(
    value: Any, place: str, type_name: str, alternative: str
) -> None:
    with pytest.raises(ValueCrossingError) as caught:
        to_wire(value, name="args")
    assert caught.value.message.startswith(f"{place} ")
    assert type_name in caught.value.message
    assert alternative in caught.value.remedy


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="NumPy 2 brought strings of variable width")
def test_an_array_of_variable_width_strings_is_refused() -> None:
    with pytest.raises(ValueCrossingError, match="StringDType"):
        to_wire(np.array(["a"], np.dtypes.StringDType()))


def nested(depth: int, inner: Any = None) -> Any:
    value = inner
    for _ in range(depth):
        value = [value]
    return value


def test_the_deepest_value_crosses_and_a_deeper_one_is_refused() -> None:
    assert cross(nested(MAX_DEPTH)) == nested(MAX_DEPTH)
    with pytest.raises(ValueCrossingError, match=f"more than {MAX_DEPTH} deep"):
        to_wire(nested(MAX_DEPTH + 1))


def test_the_deepest_dict_crosses_within_the_limit_of_protobuf_parsers() -> None:
    value: Any = 1
    for _ in range(MAX_DEPTH):
        value = {"k": value}
    assert cross(value) == value


def test_a_list_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ValueCrossingError, match="deep") as caught:
        to_wire(value)
    assert "holds itself" in caught.value.remedy


def array_message(**fields: Any) -> values_pb2.Value:
    return values_pb2.Value(array=values_pb2.Array(**{"dtype": "<f4", "shape": [2], "data": b"\0" * 8, **fields}))


def scalar_message(**fields: Any) -> values_pb2.Value:
    return values_pb2.Value(array_scalar=values_pb2.Array(**{"dtype": "<f4", "data": b"\0" * 4, **fields}))


def set_of(*items: values_pb2.Value) -> values_pb2.Value:
    return values_pb2.Value(set=values_pb2.Sequence(items=items))


def dict_of(*keys: values_pb2.Value) -> values_pb2.Value:
    entries = [values_pb2.Mapping.Entry(key=key, value=to_wire(0)) for key in keys]
    return values_pb2.Value(dict=values_pb2.Mapping(entries=entries))


def nested_message(depth: int) -> values_pb2.Value:
    message = values_pb2.Value()
    innermost = message
    for _ in range(depth):
        innermost = innermost.list.items.add()
    innermost.boolean = True
    return message


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(values_pb2.Value(), id="no kind"),
        pytest.param(values_pb2.Value(list=values_pb2.Sequence(items=[values_pb2.Value()])), id="no kind inside"),
        pytest.param(values_pb2.Value(big_integer=b""), id="integer of no bytes"),
        pytest.param(values_pb2.Value(text=b"\xff"), id="text that is not UTF-8"),
        pytest.param(values_pb2.Value(array=values_pb2.Array()), id="array without a dtype"),
        pytest.param(array_message(data=b"\0" * 7), id="too few bytes"),
        pytest.param(array_message(data=b"\0" * 9), id="too many bytes"),
        pytest.param(array_message(shape=[2, 2]), id="shape too large"),
        pytest.param(array_message(shape=[2**63, 2**63, 2**63]), id="shape beyond any memory"),
        pytest.param(array_message(shape=[2**64 - 1, 0], data=b""), id="extent beyond NumPy's beside a 0"),
        pytest.param(array_message(shape=[2**62, 2**62, 0], data=b""), id="size beyond NumPy's beside a 0"),
        pytest.param(array_message(shape=[1] * 33, data=b"\0" * 4), id="too many dimensions"),
        pytest.param(array_message(dtype="|O", data=b"\0" * 16), id="objects"),
        pytest.param(array_message(dtype="O", data=b"\0" * 16), id="objects, short"),
        pytest.param(array_message(dtype="<f4,<f4", shape=[1]), id="records"),
        pytest.param(array_message(dtype="|V4"), id="raw bytes"),
        pytest.param(array_message(dtype="<f16", data=b"\0" * 32), id="long doubles"),
        pytest.param(array_message(dtype="float32"), id="another name of a dtype"),
        pytest.param(array_message(dtype="<f4\n"), id="dtype with a line end"),
        pytest.param(array_message(dtype="<f5", data=b"\0" * 10), id="no such size"),
        pytest.param(array_message(dtype="<i" + "9" * 1000), id="huge size"),
        pytest.param(array_message(dtype="|S0", shape=[2**40], data=b""), id="elements of no bytes"),
        pytest.param(array_message(dtype="<M8[0s]", shape=[1]), id="unit of no time"),
        pytest.param(array_message(dtype="<M8[99999999999s]", shape=[1]), id="unit of more time than NumPy's"),
        pytest.param(array_message(dtype="<M8[parsec]", shape=[1]), id="no such unit"),
        pytest.param(array_message(dtype="<U1", data=b"\xff" * 8), id="code point that is none"),
        pytest.param(array_message(dtype=">U1", data=b"\x00\x11\x00\x00" * 2), id="big-endian code point that is none"),
        pytest.param(scalar_message(shape=[1]), id="scalar with a dimension"),
        pytest.param(scalar_message(data=b""), id="scalar without bytes"),
        pytest.param(scalar_message(dtype="|S3"), id="byte string of another length"),
        pytest.param(scalar_message(dtype="<U1", data=b"\xff" * 4), id="text scalar that is not UTF-32"),
        pytest.param(scalar_message(dtype="|O"), id="object scalar"),
        pytest.param(set_of(to_wire([1])), id="set of a list"),
        pytest.param(set_of(to_wire((1, [2]))), id="set of a tuple of a list"),
        pytest.param(set_of(to_wire(np.zeros(1))), id="set of an array"),
        pytest.param(set_of(to_wire(1), to_wire(1.0)), id="set with an element twice"),
        pytest.param(dict_of(to_wire({})), id="dict as a key"),
        pytest.param(dict_of(to_wire("a"), to_wire("a")), id="dict with a key twice"),
        pytest.param(dict_of(values_pb2.Value()), id="key without a kind"),
        pytest.param(nested_message(MAX_DEPTH + 1), id="too deep"),
        pytest.param(nested_message(1000), id="far too deep"),
    ],
)
def test_a_malformed_message_is_a_protocol_error(message: values_pb2.Value) -> None:
    with pytest.raises(ProtocolError):
        from_wire(message)


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="older NumPy hashes it")
@pytest.mark.filterwarnings("ignore:The 'generic' unit:DeprecationWarning")  # NumPy 2.5 and later
def test_a_timedelta_without_a_unit_in_a_set_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError, match="timedelta64"):
        from_wire(set_of(to_wire(np.timedelta64(1))))


WIRE_ARRAYS = st.builds(
    values_pb2.Array,
    dtype=st.sampled_from(["<f4", "|b1", "<U2", "|S2", "<M8[s]", "|O", "", "<U0", ">i2", "<m8[7D]"])
    | st.text(max_size=6),
    shape=st.lists(st.sampled_from([0, 1, 2, 3, 2**31, 2**63, 2**64 - 1]), max_size=4),
    fortran_order=st.booleans(),
    data=st.binary(max_size=32),
)
WIRE_LEAVES = (
    st.builds(values_pb2.Value)
    | st.builds(values_pb2.Value, text=st.binary(max_size=4))
    | st.builds(values_pb2.Value, big_integer=st.binary(max_size=9))
    | st.builds(values_pb2.Value, array=WIRE_ARRAYS)
    | st.builds(values_pb2.Value, array_scalar=WIRE_ARRAYS)
    | SCALARS.map(to_wire)
)


def wire_containers(inner: st.SearchStrategy[values_pb2.Value]) -> st.SearchStrategy[values_pb2.Value]:
    sequences = st.lists(inner, max_size=3).map(lambda items: values_pb2.Sequence(items=items))
    kinds = st.sampled_from(["list", "tuple", "set", "frozen_set"])
    return st.builds(lambda kind, items: values_pb2.Value(**{kind: items}), kinds, sequences) | st.lists(
        inner, max_size=3
    ).map(lambda keys: dict_of(*keys))


@given(st.recursive(WIRE_LEAVES, wire_containers, max_leaves=8))
@settings(max_examples=300)
def test_any_message_is_decoded_or_a_protocol_error(message: values_pb2.Value) -> None:
    try:
        value = from_wire(message)
    except ProtocolError:
        return
    assert_same(value, cross(value))


@given(st.binary(max_size=64))
def test_any_bytes_that_parse_are_decoded_or_a_protocol_error(content: bytes) -> None:
    message = values_pb2.Value()
    try:
        message.ParseFromString(content)
    except Exception:  # noqa: BLE001 - protobuf's own error, whose class differs between its versions
        return
    try:
        from_wire(message)
    except ProtocolError:
        pass
