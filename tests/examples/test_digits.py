"""The demo: the digits example learns, and tells where its layers ran."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.command import farlayer

NoLeaks = Callable[[], list[str]]
ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "examples" / "digits"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder from which the example runs as from the root of the repository, but writes elsewhere."""
    folder = tmp_path / "examples" / "digits"
    folder.mkdir(parents=True)
    for path in DIGITS.iterdir():
        if path.suffix in {".py", ".prototxt"}:
            (folder / path.name).symlink_to(path)
    return tmp_path


def test_the_demo_learns_97_percent_and_tells_where_its_layers_ran(checkout: Path, leak_check: NoLeaks) -> None:
    arguments = ("--solver", "examples/digits/solver.prototxt", "--python-path", "examples/digits")
    result = farlayer("train", *arguments, "--plot", "digits.png", cwd=checkout)
    assert result.code == 0, result
    accuracy = re.search(r"^Test +accuracy = ([\d.]+), loss = \S+ \(iteration 1500\)$", result.out, re.MULTILINE)
    assert accuracy is not None, result
    assert float(accuracy[1]) >= 0.97
    took = re.search(r"^Trained +1500 iterations in ([\d.]+) s, ", result.out, re.MULTILINE)
    assert took is not None, result
    assert float(took[1]) < 60
    assert (checkout / "digits.png").read_bytes().startswith(b"\x89PNG")
    assert (checkout / "examples/digits/output/digits_iter_1500.caffemodel").is_file()
    assert (checkout / "examples/digits/output/digits_iter_500.solverstate").is_file()
    table = result.out[result.out.index("Python layers") :]
    pids: dict[str, set[str]] = {}
    phases: dict[str, set[str]] = {}
    for layer, phase, pid in re.findall(r"(?m)^(\w+) +(TRAIN|TEST) +\S+ +w\d+ +(\d+) +mailbox +shared ", table):
        pids.setdefault(layer, set()).add(pid)
        phases.setdefault(layer, set()).add(phase)
    assert phases == {layer: {"TRAIN", "TEST"} for layer in ("data", "affine", "loss")}
    assert all(len(own) == 1 for own in pids.values()), "train and test twins share a worker"
    assert len(set.union(*pids.values())) == 3, "each layer has a worker of its own"
    assert leak_check() == []
