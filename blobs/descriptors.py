"""How many descriptors this process may have open: each shared segment takes two in every process that maps it."""

from __future__ import annotations

import resource

_ENOUGH = 65536
"""Not more: programs that user code starts may close all that they could have inherited, one by one."""


def allow_many_descriptors() -> None:
    """Raises the soft limit on open files towards the hard one, as a process may for itself and its children.

    The usual 1024 are the share of a net of 250 blobs. They stem from select(), which takes no higher numbers.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # a container may forbid it: then it stays at what there was
        return
