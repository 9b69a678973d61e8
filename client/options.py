"""How an engine talks to its workers, checked once."""

from __future__ import annotations

from dataclasses import dataclass

from farlayer.protos.errors import InputError
from farlayer.protos.protocol import LONGEST_TIMEOUT_S

CARRIERS = ("auto", "mailbox", "grpc")
TRANSPORTS = ("auto", "shared", "streamed")


@dataclass(frozen=True)
class ClientOptions:
    """How an engine talks to its workers.

    Attributes:
        carrier: "auto", or forced: "mailbox" (straight to the worker, same host), "grpc" (through the server).
        transport: "auto", or forced: "shared" (memory of one host), "streamed" (contents in the stream).
        timeout_s: how long one call of a layer may take, in seconds; its worker is ended after that. Long, since a
            setup may read a data set.
        connect_timeout_s: how long to wait for a server to answer at first, in seconds.
    """

    carrier: str = "auto"
    transport: str = "auto"
    timeout_s: float = 600.0
    connect_timeout_s: float = 5.0

    def __post_init__(self) -> None:
        for name, known in (("carrier", CARRIERS), ("transport", TRANSPORTS)):
            if getattr(self, name) not in known:
                raise InputError(
                    f"there is no {name} '{getattr(self, name)}'", remedy=f"choose one of {', '.join(known)}"
                )
        if self.carrier == "mailbox" and self.transport == "streamed":
            raise InputError(
                "the mailbox carrier needs shared memory, so it cannot go with the transport 'streamed'",
                remedy="leave one of the two out, or take the carrier 'grpc'",
            )
        for name in ("timeout_s", "connect_timeout_s"):
            if not 0 < getattr(self, name) <= LONGEST_TIMEOUT_S:
                raise InputError(
                    f"{name} is a time in seconds above 0, not {getattr(self, name)}",
                    remedy=f"for as good as no limit give {LONGEST_TIMEOUT_S:g}",
                )
