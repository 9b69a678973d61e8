import numpy as np
import pytest

from farlayer.engine.data.datum import DatumDecoder, datum_of_file, datum_of_pixels, parse_datum
from farlayer.engine.data.pillow_images import PillowImages
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import InputError
from tests.engine.data.support import datum_of, image


def planes(seed: int = 0) -> np.ndarray:
    return image(4, 5, seed=seed).transpose(2, 0, 1)


def test_bytes_become_pixels() -> None:
    decoded = DatumDecoder().planes(datum_of(planes()), "x")
    np.testing.assert_array_equal(decoded, planes())
    assert decoded.dtype == np.uint8


def test_floats_become_pixels() -> None:
    values = np.random.default_rng(0).standard_normal((2, 3, 4), dtype=np.float32)
    datum = caffe_pb2.Datum(channels=2, height=3, width=4, float_data=values.ravel().tolist())
    np.testing.assert_array_equal(DatumDecoder().planes(datum, "x"), values)


@pytest.mark.parametrize(("color", "channels"), [("native", 4), ("color", 3), ("gray", 1)])
def test_encoded_images_are_decoded_with_the_channels_asked_for(color: str, channels: int) -> None:
    content = PillowImages().encode(image(4, 5, 4), "png")
    decoded = DatumDecoder(color).planes(datum_of_file(content, 3), "x")  # type: ignore[arg-type]
    assert decoded.shape == (channels, 4, 5)


def test_pixels_are_written_with_the_fields_and_the_bytes_of_caffe() -> None:
    datum = datum_of_pixels(image(4, 5), 7)
    # channels, height, width, data, label, encoded: fields 1 to 5 and 7; a false `encoded` is written.
    expected = b"\x08\x03\x10\x04\x18\x05\x22\x3c" + planes().tobytes() + b"\x28\x07\x38\x00"
    assert datum.SerializeToString() == expected


def test_files_are_written_with_the_fields_of_caffe() -> None:
    assert datum_of_file(b"ab", 7).SerializeToString() == b"\x22\x02ab\x28\x07\x38\x01"


@pytest.mark.parametrize(
    ("datum", "message"),
    [
        (caffe_pb2.Datum(), r"x holds 0 values, expected channels x height x width: 0 x 0 x 0"),
        (caffe_pb2.Datum(channels=1, height=2, width=2, data=b"abc"), r"x holds 3 values, .* 1 x 2 x 2"),
        (caffe_pb2.Datum(channels=1, height=2, width=2, float_data=[1] * 5), r"x holds 5 values"),
        (caffe_pb2.Datum(channels=-1, height=-2, width=2, data=b"abcd"), r"x holds 4 values, .* -1 x -2 x 2"),
        (caffe_pb2.Datum(encoded=True, data=b"nonsense"), r"x is no image"),
    ],
)
def test_contents_that_do_not_fit_are_refused(datum: caffe_pb2.Datum, message: str) -> None:
    with pytest.raises(InputError, match=message):
        DatumDecoder().planes(datum, "x")


def test_a_truncated_message_is_refused_by_name() -> None:
    content = datum_of(planes()).SerializeToString()
    with pytest.raises(InputError, match=r"^record 'a' is truncated or no Datum message \(30 bytes\)"):
        parse_datum(content[:30], "record 'a'")
