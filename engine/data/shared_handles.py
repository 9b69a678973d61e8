"""Handles on what a process may open only once, shared by all who want it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any


class SharedHandles:
    """Open handles by path, each with the number of its users: the train net and a test net may read one database."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handles: dict[str, Any] = {}
        self._users: dict[str, int] = {}

    def take(self, path: str, opener: Callable[[str], Any]) -> SharedHandle:
        """Gives the handle of a path, opened where nobody has it open; its user closes it."""
        key = os.path.realpath(path)
        with self._lock:
            if key not in self._handles:
                self._handles[key] = opener(path)
            self._users[key] = self._users.get(key, 0) + 1
            return SharedHandle(self._handles[key], lambda: self._give_back(key))

    def _give_back(self, key: str) -> None:
        with self._lock:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key]
                self._handles.pop(key).close()


class SharedHandle:
    """One user's hold on a handle.

    Attributes:
        handle: the handle itself.
        close: lets it go; to be called once.
    """

    def __init__(self, handle: Any, close: Callable[[], None]) -> None:  # noqa: ANN401  # whatever opener gives
        self.handle = handle
        self.close = close
