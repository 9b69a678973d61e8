from pathlib import Path

import numpy as np
import pytest

from farlayer.engine.data.bilinear import resize_bilinear
from farlayer.engine.data.databases import Record
from farlayer.engine.data.image_list import ImageList, ListedImage, read_image_list
from farlayer.engine.data.image_set import ImageSetConverter, MeanImage, named_records
from farlayer.engine.data.pillow_images import PillowImages
from farlayer.protos import caffe_pb2
from farlayer.protos.errors import InputError
from tests.engine.data.support import BACKENDS, datum_of, image, write_datums, write_png


@pytest.fixture
def images(tmp_path: Path) -> ImageList:
    """Three images of which the last one is larger, the second a JPEG."""
    write_png(tmp_path / "a.png", image(4, 5, seed=1))
    (tmp_path / "b c.JPEG").write_bytes(PillowImages().encode(image(4, 5, seed=2), "jpg"))
    write_png(tmp_path / "d.png", image(6, 7, seed=3))
    (tmp_path / "list").write_text("a.png 3\nb c.JPEG 4\nd.png 5\n")
    return read_image_list(str(tmp_path / "list"))


def converted(images: ImageList, **options: object) -> list[Record]:
    converter = ImageSetConverter(f"{Path(images.source).parent}/", **options)  # type: ignore[arg-type]
    records = list(converter.records(images))
    assert not [record for record in records if isinstance(record, InputError)]
    return records  # type: ignore[return-value]


def datums(images: ImageList, **options: object) -> list[caffe_pb2.Datum]:
    return [caffe_pb2.Datum.FromString(value) for _, value in converted(images, **options)]


def test_keys_are_the_place_in_the_list_and_the_path(images: ImageList) -> None:
    keys = [key for key, _ in converted(images)]
    assert keys == [b"00000000_a.png", b"00000001_b c.JPEG", b"00000002_d.png"]


def test_images_are_kept_as_pixels_with_their_labels(images: ImageList) -> None:
    first, _, last = datums(images)
    assert first == caffe_pb2.Datum(
        channels=3, height=4, width=5, data=image(4, 5, seed=1).transpose(2, 0, 1).tobytes(), label=3, encoded=False
    )
    assert (last.channels, last.height, last.width, last.label) == (3, 6, 7, 5)


def test_images_are_resized(images: ImageList) -> None:
    for datum, seed, size in zip(datums(images, size=(8, 9))[::2], (1, 3), ((4, 5), (6, 7)), strict=True):
        expected = resize_bilinear(image(*size, seed=seed), 8, 9)
        assert datum.data == expected.transpose(2, 0, 1).tobytes()


def test_gray_images_have_one_channel(images: ImageList) -> None:
    assert [(datum.channels, len(datum.data)) for datum in datums(images, gray=True)] == [(1, 20), (1, 20), (1, 42)]


def test_encoded_images_are_the_files_themselves_where_nothing_changes(images: ImageList) -> None:
    folder = Path(images.source).parent
    for datum, name, label in zip(datums(images, encoded=True), ("a.png", "b c.JPEG", "d.png"), (3, 4, 5), strict=True):
        assert datum == caffe_pb2.Datum(data=(folder / name).read_bytes(), label=label, encoded=True)


def test_the_type_decides_which_files_are_encoded_anew(images: ImageList) -> None:
    folder = Path(images.source).parent
    as_png, as_jpg = datums(images, encode_type="png"), datums(images, encode_type="jpg")
    assert as_png[0].data == (folder / "a.png").read_bytes()
    assert as_jpg[1].data == (folder / "b c.JPEG").read_bytes()
    assert as_png[1].data.startswith(b"\x89PNG")
    assert as_jpg[0].data.startswith(b"\xff\xd8")
    assert all(datum.encoded for datum in as_png + as_jpg)


def test_encoded_images_that_are_resized_are_encoded_anew(images: ImageList) -> None:
    first, second, _ = datums(images, encoded=True, size=(8, 9))
    pixels = PillowImages().decode(first.data, "native", "x")
    np.testing.assert_array_equal(pixels, resize_bilinear(image(4, 5, seed=1), 8, 9))
    assert second.data.startswith(b"\xff\xd8")


def test_a_file_without_a_suffix_is_kept_as_it_is_and_encoded_anew_only_with_a_type(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", image(4, 5)).rename(tmp_path / "a")
    images = ImageList(str(tmp_path / "list"), [ListedImage("a", 1, 1)])
    assert datums(images, encoded=True)[0].data == (tmp_path / "a").read_bytes()
    assert datums(images, encode_type="jpg", size=(3, 3))[0].data.startswith(b"\xff\xd8")
    (error,) = ImageSetConverter(f"{tmp_path}/", encoded=True, size=(3, 3)).records(images)
    assert isinstance(error, InputError)
    assert "has no suffix" in error.message


def test_an_image_that_cannot_be_read_is_left_out(images: ImageList) -> None:
    folder = Path(images.source).parent
    (folder / "a.png").unlink()
    (folder / "b c.JPEG").write_bytes(b"no image")
    records = list(ImageSetConverter(f"{folder}/").records(images))
    first, second, third = records
    assert isinstance(first, InputError)
    assert "image 'a.png' (line 1 of" in first.message
    assert isinstance(second, InputError)
    assert "image 'b c.JPEG' (line 2 of" in second.message
    assert not isinstance(third, InputError)
    assert third[0] == b"00000002_d.png"


def test_another_size_is_refused_where_sizes_are_checked(images: ImageList) -> None:
    for options in ({}, {"encoded": True}):
        with pytest.raises(
            InputError, match=r"image 'd\.png' \(line 3 of .*\(6, 7, 3\), the first image has \(4, 5, 3\)"
        ):
            converted(images, check_size=True, **options)
    assert len(converted(images, check_size=True, size=(4, 4))) == 3


def test_an_unknown_type_is_an_error_of_each_image(images: ImageList) -> None:
    records = list(ImageSetConverter(f"{Path(images.source).parent}/", encode_type="nonsense").records(images))
    assert all(isinstance(record, InputError) and "'nonsense'" in record.message for record in records)


def test_the_mean_has_the_bits_of_sums_in_single_precision() -> None:
    pictures = [image(4, 5, seed=seed).transpose(2, 0, 1) for seed in range(7)]
    mean = MeanImage()
    for picture in pictures:
        mean.add(datum_of(picture).SerializeToString(), "x")
    total = np.zeros((3, 4, 5), np.float32)
    for picture in pictures:
        total = total + picture.astype(np.float32)
    np.testing.assert_array_equal(mean.image(), total / np.float32(7))
    assert mean.count == 7


def test_the_mean_takes_floats_and_files_too() -> None:
    floats, files = MeanImage(), MeanImage()
    floats.add(caffe_pb2.Datum(channels=1, height=1, width=2, float_data=[1.5, 2.5]).SerializeToString(), "x")
    floats.add(caffe_pb2.Datum(channels=1, height=1, width=2, data=b"\x01\x02").SerializeToString(), "x")
    np.testing.assert_array_equal(floats.image(), [[[1.25, 2.25]]])
    content = PillowImages().encode(image(4, 5), "png")
    files.add(caffe_pb2.Datum(encoded=True, data=content).SerializeToString(), "x")
    np.testing.assert_array_equal(files.image(), image(4, 5).transpose(2, 0, 1))


def test_the_mean_of_images_of_several_sizes_is_refused() -> None:
    mean = MeanImage()
    mean.add(datum_of(image(4, 5).transpose(2, 0, 1)).SerializeToString(), "x")
    with pytest.raises(
        InputError, match=r"y has channels, height and width \(3, 5, 4\), the first image has \(3, 4, 5\)"
    ):
        mean.add(datum_of(image(5, 4).transpose(2, 0, 1)).SerializeToString(), "y")
    with pytest.raises(InputError, match="y is truncated"):
        mean.add(b"\xff", "y")


def test_the_mean_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="the database is empty"):
        MeanImage().image()


def test_records_come_with_names_and_the_database_is_closed_after_them(tmp_path: Path) -> None:
    for backend in BACKENDS:
        path = write_datums(tmp_path / backend, backend, [datum_of(image(1, 1).transpose(2, 0, 1))] * 3)
        for _ in range(2):
            with named_records(str(path), backend) as records:
                names = [name for name, _ in records]
            assert names == [f"record '0000000{index}' of '{path}'" for index in range(3)]


def test_a_list_keeps_labels_with_their_images_when_shuffled() -> None:
    images = ImageList("x", [ListedImage(str(index), index, index) for index in range(30)])
    assert all(image.path == str(image.label) for image in images.shuffled().images)
