from pathlib import Path

import pytest

from farlayer.engine.data.window_file import Window, read_window_file
from farlayer.protos.errors import InputError

TWO_IMAGES = """# 0
a.png
3
40
60
3
2 0.9 1 2 30 40
1 0.5 0 0 5 5
7 0.2 3 3 9 9
# 1
b.png
3
20
20
2
4 0.45 1 1 2 2
4 0.75 5 6 7 8
"""


def write(tmp_path: Path, content: str) -> str:
    path = tmp_path / "windows.txt"
    path.write_text(content, encoding="utf-8")
    return str(path)


def windows(source: str, fg_threshold: float = 0.5, bg_threshold: float = 0.3) -> tuple[list[Window], list[Window]]:
    tables = read_window_file(source, "root/", fg_threshold, bg_threshold)
    return tuple([table[index] for index in range(len(table))] for table in tables)  # type: ignore[return-value]


def test_windows_are_foreground_or_background_by_their_overlap(tmp_path: Path) -> None:
    background, foreground = windows(write(tmp_path, TWO_IMAGES))
    assert background == [Window("root/a.png", 0, (3, 3, 9, 9))]
    assert foreground == [
        Window("root/a.png", 2, (1, 2, 30, 40)),
        Window("root/a.png", 1, (0, 0, 5, 5)),
        Window("root/b.png", 4, (5, 6, 7, 8)),
    ]


def test_lines_do_not_matter_and_images_are_known_by_their_place(tmp_path: Path) -> None:
    content = TWO_IMAGES.replace("# 0\n", "# 17\n").replace("\n", "  ").replace("# 1 ", "\n\n#\t5\n")
    assert windows(write(tmp_path, content)) == windows(write(tmp_path, TWO_IMAGES))


def test_an_image_may_have_no_windows(tmp_path: Path) -> None:
    content = "# 0\nnone.png\n3\n4\n4\n0\n" + TWO_IMAGES
    assert windows(write(tmp_path, content)) == windows(write(tmp_path, TWO_IMAGES))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (TWO_IMAGES, "", "line 0: it is empty"),
        ("# 0", "0", "line 1: '0' where the # of an image is expected"),
        ("# 1", "b", "line 10: 'b' where the # of an image is expected"),
        ("# 0", "# zero", "line 1: the number of an image expected: .*zero"),
        ("3\n40", "three\n40", "line 6: channels, height, width and number of windows expected: .*three"),
        ("3\n40", "1\n40", r"line 6: image 'a\.png' has 1 channels; .* expected 3"),
        ("60\n3\n", "60\n-3\n", r"line 6: image 'a\.png' has -3 windows"),
        ("60\n3\n", "60\n4\n", "line 14: the windows expected: .*#"),
        ("0.2 3 3", "0.2 nan 3", "line 9: 18 numbers expected: the windows; got 18"),
        ("5 6 7 8", "5 6", "line 17: 12 numbers expected: the windows; got 10"),
        ("2 0.9", "0 0.9", r"a foreground window of image 'a\.png' has a class below 1"),
    ],
)
def test_damaged_files_are_refused_with_the_line(tmp_path: Path, before: str, after: str, message: str) -> None:
    source = write(tmp_path, TWO_IMAGES.replace(before, after, 1))
    with pytest.raises(InputError, match=rf"^the window file '{source}'.*{message}") as error:
        windows(source)
    assert error.value.remedy


def test_a_file_that_ends_early_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it ends where the path of an image is expected"):
        windows(write(tmp_path, "# 0\n"))


@pytest.mark.parametrize(("thresholds", "what"), [((0.95, 0.3), "foreground"), ((0.5, 0.1), "background")])
def test_both_kinds_of_windows_are_needed(tmp_path: Path, thresholds: tuple[float, float], what: str) -> None:
    with pytest.raises(InputError, match=f"has no {what} window"):
        windows(write(tmp_path, TWO_IMAGES), *thresholds)


def test_a_missing_file_is_told() -> None:
    with pytest.raises(InputError, match="cannot read the window file '/nowhere/w': No such file"):
        windows("/nowhere/w")
