"""What a server is told at its start, checked once."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from farlayer.protos.errors import InputError
from farlayer.protos.protocol import check_address


@dataclass(frozen=True)
class ServerOptions:
    """How a server listens, and how its workers are started.

    Attributes:
        listen: "unix:/path" or "host:port"; port 0 takes a free one.
        max_workers: worker processes at one time.
        python: interpreter of the workers; "" for the server's own. Its environment needs this package, NumPy and
            protobuf, no more.
        python_path: folders in which workers look for layer modules, before their own sys.path.
        drain_s: after SIGTERM, how long instances that are held may go on, in seconds.
        resume_window_s: how long an instance outlives its broken stream, in seconds.
        worker_end_s: how long a worker that is no longer needed may take for its exit handlers before SIGKILL.
        lifeline: descriptor whose end-of-file tells that whoever started the server is gone; -1 for none.
        parent: process whose end has the same meaning (a forked child of it may hold the lifeline); 0 for none.
        ready: descriptor on which the address is written once the server listens; -1 for none.
        remove_folder: folder that the server removes at its end, with its sockets; "" for none.
        log_level: "DEBUG", "INFO", "WARNING" or "ERROR".
    """

    listen: str
    max_workers: int = 64
    python: str = ""
    python_path: tuple[str, ...] = ()
    drain_s: float = 30.0
    resume_window_s: float = 30.0
    worker_end_s: float = 2.0
    lifeline: int = -1
    parent: int = 0
    ready: int = -1
    remove_folder: str = ""
    log_level: str = "INFO"

    def __post_init__(self) -> None:
        check_address(self.listen)
        if self.max_workers < 1:
            raise InputError(f"a server needs at least 1 worker, not max_workers={self.max_workers}")
        for name in ("drain_s", "resume_window_s", "worker_end_s"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} is a time in seconds, not {getattr(self, name)}")

    def to_json(self) -> str:
        """The options as one command line argument."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ServerOptions:
        """The options that `to_json` wrote."""
        fields = json.loads(text)
        return cls(**{**fields, "python_path": tuple(fields["python_path"])})

    @property
    def unix_path(self) -> str:
        """Path of the unix socket to listen on; "" for a TCP address."""
        return self.listen[len("unix:") :] if self.listen.startswith("unix:") else ""
