"""The example without a net."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "examples" / "euclidean_loss" / "fit_line.py"


def test_the_line_is_found_with_the_loss_in_a_worker(tmp_path: Path, leak_check: Callable[[], list[str]]) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    slope, offset = re.findall(r"y = (\S+) x \+ (\S+)", done.stdout)[-1]
    assert abs(float(slope) - 3) < 0.05
    assert abs(float(offset) + 1) < 0.05
    assert re.search(r"(?m)^pyloss.EuclideanLossLayer ran in w1, pid \d+, by mailbox, shared memory:$", done.stdout)
    assert leak_check() == []
