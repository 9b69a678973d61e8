"""Servers that somebody else started, at addresses that are given."""

from __future__ import annotations

import re
from collections.abc import Sequence

from farlayer.protos.errors import PlacementError


class StaticLauncher:
    """Starts and ends nothing.

    Args:
        addresses: "unix:/path" or "host:port" each.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = list(addresses)

    def start(self) -> list[str]:
        """Returns the addresses.

        Raises:
            PlacementError: one of them is no address.
        """
        for address in self._addresses:
            check_address(address)
        return self._addresses

    def close(self) -> None:
        """Does nothing: the servers are not ours."""


def check_address(address: str) -> None:
    """Checks what a user gave as the address of a server.

    Raises:
        PlacementError: it is none.
    """
    if not re.fullmatch(r"unix:/.+|(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):\d{1,5}", address):
        raise PlacementError(f"'{address}' is no address of a server", remedy="write host:port or unix:/path")
