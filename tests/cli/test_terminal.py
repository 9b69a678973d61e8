"""What farlayer train draws on a terminal."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.command import LAYERS
from tests.cli.nets import write_net
from tests.cli.terminal import terminal

NoLeaks = Callable[[], list[str]]
TRAIN = ("train", "--solver", "solver.prototxt", "--python-path", LAYERS)


@pytest.mark.parametrize("columns", [80, 140])
def test_a_terminal_shows_a_bar_and_keeps_tests_and_the_workers_lines(
    tmp_path: Path, leak_check: NoLeaks, columns: int
) -> None:
    write_net(tmp_path, "Slow", solver="max_iter: 60\ntest_iter: 1\ntest_interval: 20")
    with terminal(*TRAIN, cwd=tmp_path, columns=columns) as screen:
        screen.wait_for(r"Training .* \d+/60 .*it/s .*\d:\d\d *\nloss [\d.e-]+ +lr 0\.1 +test loss = ")
        assert screen.end() == 0, screen.text
    text = screen.text
    assert re.search(r"Iteration 40, test: loss = \S+ *\n", text), text
    assert re.search(r"Trained +60 iterations", text), text
    assert "Python layers" in text
    assert max(len(line) for line in text[text.index("Trained") :].splitlines()) <= columns
    assert screen.raw.rindex("\x1b[?25h") > screen.raw.rindex("\x1b[?25l"), "the cursor is still hidden"
    assert leak_check() == []


def test_lines_of_workers_come_whole_between_the_bars(tmp_path: Path) -> None:
    write_net(tmp_path, "WhereAmI")
    with terminal(*TRAIN, cwd=tmp_path, columns=200) as screen:
        assert screen.end() == 0, screen.text
    assert re.search(rf"\[mine\] pid \d+ of parent \d+ in {tmp_path} *\n", screen.text), screen.text


def test_errors_on_a_terminal_are_red_and_not_cut(tmp_path: Path) -> None:
    write_net(tmp_path, "RaisesInForward")
    with terminal(*TRAIN, cwd=tmp_path) as screen:
        assert screen.end() == 1, screen.text
    assert "\x1b[1;31merror: " in screen.raw
    assert "raised in forward: KeyError: 'forward said no'" in screen.text.replace("\n", "")
