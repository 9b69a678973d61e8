"""Servers that somebody else started, at addresses that are given."""

from __future__ import annotations

from collections.abc import Sequence

from farlayer.protos.errors import PlacementError
from farlayer.protos.protocol import check_address


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
            check_address(address, PlacementError)
        return self._addresses

    def close(self) -> None:
        """Does nothing: the servers are not ours."""
