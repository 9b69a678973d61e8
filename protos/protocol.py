"""What the two ends of the protocol must agree on beside its messages: versions, limits, how addresses are written."""

from __future__ import annotations

import os
import re
from importlib.metadata import PackageNotFoundError, version

from farlayer.protos.errors import InputError

OLDEST_VERSION = 1
NEWEST_VERSION = 1
"""Of the protocol; version 1 is layer_service.proto as it is."""

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Of one gRPC message, at either end: blobs travel beside messages."""

LONGEST_TIMEOUT_S = 1e9
"""Thirty years: what the waiting calls of the system can still count."""

GRPC_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
]
"""Options of channels and servers alike."""

MAX_UNIX_PATH_BYTES = 100
"""The kernel takes 107; the broker's socket beside the server's has a longer name."""

_HOST_AND_PORT = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):(\d{1,5})")
_MAX_PORT = 65535


def check_address(address: str, error: type[InputError] = InputError) -> None:
    """Checks how the address of a server is written: "host:port", "[ipv6]:port" or "unix:/path".

    Args:
        error: what is raised where it is wrong.

    Raises:
        InputError: it is none of these, its path is too long for a socket, or its port too high.
    """
    if address.startswith("unix:"):
        path = address[len("unix:") :]
        if not path.startswith("/") or len(os.fsencode(path)) > MAX_UNIX_PATH_BYTES:
            raise error(
                f"'{address}': a unix address has an absolute path of at most {MAX_UNIX_PATH_BYTES} bytes",
                remedy="write unix:/run/farlayer/worker.sock",
            )
        return
    found = _HOST_AND_PORT.fullmatch(address)
    if found is None:
        raise error(f"'{address}' is no address of a server", remedy="write host:port, [ipv6]:port or unix:/path")
    if int(found[2]) > _MAX_PORT:
        raise error(f"'{address}' is no address of a server: ports end at {_MAX_PORT}", remedy="correct the port")


def software() -> str:
    """Name and version of this package."""
    try:
        return f"farlayer {version('farlayer')}"
    except PackageNotFoundError:
        return "farlayer (not installed)"
