import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from farlayer.engine.wire import fields, nested, take_out
from farlayer.protos import caffe_pb2

LAYER = caffe_pb2.LayerParameter(
    name="l", type="InnerProduct", bottom=["a", "b"], loss_weight=[0.5], phase=caffe_pb2.TEST
)
LAYER.blobs.add(data=[1, 2, 3])
LAYER.blobs.add(double_data=[4])


def test_fields_come_in_order_and_make_up_the_message() -> None:
    message = LAYER.SerializeToString()
    walked = list(fields(memoryview(message)))
    assert [field.number for field in walked] == [1, 2, 3, 3, 5, 7, 7, 10]
    assert b"".join(field.whole for field in walked) == message
    assert bytes(walked[0].content or b"") == b"l"
    assert walked[4].content is None, "a float"
    assert walked[7].content is None, "an enumeration"


def test_large_fields_are_parted_from_small_ones() -> None:
    large, rest = take_out(memoryview(LAYER.SerializeToString()), (7,))
    assert [caffe_pb2.BlobProto.FromString(content) for content in large[7]] == list(LAYER.blobs)
    small = caffe_pb2.LayerParameter.FromString(rest)
    assert (small.name, len(small.blobs)) == ("l", 0)


def test_a_field_without_content_is_small_whatever_its_number() -> None:
    loose = b"\x2d\x00\x00\x80\x3f"  # field 5 of a BlobProto as a single float
    large, rest = take_out(memoryview(loose), (5,))
    assert (large, rest) == ({}, loose)


@given(st.integers(1, 2**29 - 1), st.lists(st.binary(max_size=300), max_size=3))
def test_what_is_nested_is_found_again(number: int, pieces: list[bytes]) -> None:
    (field,) = fields(memoryview(b"".join(nested(number, pieces))))
    assert (field.number, bytes(field.content or b"")) == (number, b"".join(pieces))


@pytest.mark.parametrize(
    "message",
    [
        b"\x0a",  # no length
        b"\x0a\x05abc",  # 5 bytes promised
        b"\x0d\x00\x00",  # half a float
        b"\x11\x00\x00\x00\x00",  # half a double
        b"\x08",  # no number
        b"\x08" + b"\xff" * 11,  # a number without an end
        b"\x0b",  # a group, which Caffe never had
        b"\x00\x00",  # field 0
    ],
)
def test_what_is_no_message_is_told(message: bytes) -> None:
    with pytest.raises(DecodeError):
        list(fields(memoryview(message)))


@given(st.binary(max_size=40))
def test_hostile_bytes_end_in_fields_or_in_the_one_error(message: bytes) -> None:
    try:
        walked = list(fields(memoryview(message)))
    except DecodeError:
        return
    assert b"".join(field.whole for field in walked) == message
