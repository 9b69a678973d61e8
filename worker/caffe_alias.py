"""Makes `import caffe` give farlayer's own modules, in a process that runs user layers."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Sequence

_ALIAS = "caffe"
_TARGET = "farlayer.pycaffe"


class _AliasLoader(Loader):
    def __init__(self, target: str) -> None:
        self._target = target
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._target)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # the import system put the alias's spec there; reload needs the true one


class CaffeAliasFinder(MetaPathFinder):
    """Finds `caffe` and those submodules that farlayer.pycaffe has; other names are left to the usual finders."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Answers for `caffe` and `caffe.*`."""
        if fullname != _ALIAS and not fullname.startswith(_ALIAS + "."):
            return None
        name = _TARGET + fullname[len(_ALIAS) :]
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            found = None
        if found is None:
            return None
        return ModuleSpec(fullname, _AliasLoader(name), is_package=found.submodule_search_locations is not None)


def install() -> None:
    """Puts the alias first, so that it wins over a Caffe that is installed. Idempotent."""
    if not any(isinstance(finder, CaffeAliasFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, CaffeAliasFinder())
