from pathlib import Path

import pytest

from farlayer.engine.data.image_list import ListedImage, read_image_list
from farlayer.protos.errors import InputError


def write(tmp_path: Path, content: str) -> str:
    path = tmp_path / "list.txt"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    return str(path)


def test_a_line_is_a_path_and_a_label(tmp_path: Path) -> None:
    source = write(tmp_path, "a.jpg 3\nb/c.png -1\n")
    assert read_image_list(source).images == [ListedImage("a.jpg", 3, 1), ListedImage("b/c.png", -1, 2)]


@pytest.mark.parametrize(
    "line",
    ["my cat.jpg 3", "my cat.jpg 3  ", "my cat.jpg\t3", "my cat.jpg   3\r", "  my cat.jpg 3", "my cat.jpg \t 3\t"],
)
def test_blanks_inside_a_path_count_and_others_do_not(tmp_path: Path, line: str) -> None:
    source = write(tmp_path, f"\n{line}\n   \n")
    assert read_image_list(source).images == [ListedImage("my cat.jpg", 3, 2)]


def test_paths_may_be_in_any_encoding(tmp_path: Path) -> None:
    (tmp_path / "bild").mkdir()
    name = b"k\xe4fer.jpg".decode("utf-8", "surrogateescape")
    (tmp_path / "bild" / name).write_bytes(b"content")
    images = read_image_list(write(tmp_path, f"{name} 1"))
    assert images.read(images.images[0], f"{tmp_path}/bild/") == b"content"


@pytest.mark.parametrize(("line", "number"), [("a.jpg", 2), ("a.jpg three", 2), ("a.jpg 1.5", 2), ("7", 2)])
def test_a_line_without_a_label_is_refused(tmp_path: Path, line: str, number: int) -> None:
    source = write(tmp_path, f"a.jpg 3\n{line}\n")
    with pytest.raises(InputError, match=f"line {number} of '{source}' is '{line}', expected a path and a label"):
        read_image_list(source)


def test_empty_and_missing_lists_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is empty"):
        read_image_list(write(tmp_path, " \n\n"))
    with pytest.raises(InputError, match=r"the list of images: cannot read '/nowhere/list'"):
        read_image_list("/nowhere/list")


def test_an_image_that_is_missing_is_told_with_its_line_and_the_remedy_for_most_cases(tmp_path: Path) -> None:
    images = read_image_list(write(tmp_path, "a.jpg 3"))
    with pytest.raises(
        InputError, match=rf"image 'a\.jpg' \(line 1 of '.*'\): cannot read '{tmp_path}a\.jpg'"
    ) as error:
        images.read(images.images[0], str(tmp_path))
    assert "a / at its end" in error.value.remedy


def test_shuffling_keeps_every_image(tmp_path: Path) -> None:
    images = read_image_list(write(tmp_path, "".join(f"{index}.jpg {index}\n" for index in range(50))))
    shuffled = images.shuffled()
    assert shuffled.images != images.images
    assert sorted(shuffled.images) == sorted(images.images)
    assert shuffled.source == images.source
