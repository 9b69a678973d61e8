"""Who starts servers: this process, or somebody else."""

from __future__ import annotations

from typing import Protocol


class Launcher(Protocol):
    """Brings up servers and says where they are."""

    def start(self) -> list[str]:
        """Returns the addresses of servers that answer, or will soon."""

    def close(self) -> None:
        """Ends what start began. Idempotent."""
