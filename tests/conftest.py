"""Fixtures for all tests: the check that nothing is left behind, and a folder for layer files."""

import importlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hygiene import leak_check, nothing_left_by_module, test_session

__all__ = ["layer_dir", "leak_check", "nothing_left_by_module", "test_session"]


def pytest_configure() -> None:
    """Heeds SIGINT also where it is ignored, as it is for background jobs: tests send it to processes of their own."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def layer_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder on sys.path, for layer modules that a test writes as text.

    It is also on PYTHONPATH, so that processes started by the test see it. Modules imported from it are forgotten
    afterwards: the next test may write another one of the same name.
    """
    folder = tmp_path / "layer_dir"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=":")
    yield folder
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file is not None and Path(file).is_relative_to(folder):
            del sys.modules[name]
    importlib.invalidate_caches()
