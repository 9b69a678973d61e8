"""From options to a host: where the Python layers of a command run, started and ended in order."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from farlayer.cli.console import Screen
from farlayer.cli.options import HostOptions
from farlayer.cli.signals import interrupts
from farlayer.cli.worker_output import WorkerOutput
from farlayer.client.host import LayerHost
from farlayer.client.in_process_host import InProcessHost
from farlayer.client.launchers.local import own_python_path
from farlayer.client.placement import PlacementHost, PoolPlan, load_placement
from farlayer.client.pool import Pool, local_pool, static_pool


@contextmanager
def open_host(options: HostOptions, screen: Screen) -> Iterator[LayerHost]:
    """Starts what the options ask for and ends it at the end, whatever happens in between.

    Raises:
        PlacementError, WorkerUnavailableError, VersionError, TransportError: see the hosts.
    """
    placement = load_placement(options.placement) if options.placement else None
    if options.in_process or placement is not None:
        # As workers have it, whose `python -m` puts the working directory there.
        sys.path[:0] = [*options.python_path, os.getcwd()]
    with ExitStack() as stack:
        default: LayerHost
        default = (
            InProcessHost(options.client) if options.in_process else stack.enter_context(open_pool(options, screen))
        )
        if placement is None:
            yield default
            return
        host = PlacementHost(
            default,
            placement,
            options.client,
            start_local=lambda plan: _start_local(plan, options, screen, stack),
        )
        stack.callback(_close, host)
        yield host


@contextmanager
def open_pool(options: HostOptions, screen: Screen) -> Iterator[Pool]:
    """Starts a local server, or connects to those that are given; closes and ends behind it what was started."""
    with ExitStack() as stack:
        if options.addresses:
            pool = static_pool(options.addresses, workers=options.workers, options=options.client)
            stack.callback(_close, pool)
            pool.start()  # may wait for servers that do not answer: a Ctrl-C ends that
        else:
            pool = _start_local(PoolPlan(workers=options.workers), options, screen, stack)
        yield pool


def _start_local(plan: PoolPlan, options: HostOptions, screen: Screen, stack: ExitStack) -> Pool:
    """Starts the local server of a plan; the options say what the plan does not. The stack closes the pool."""
    output = stack.enter_context(WorkerOutput(screen.err)) if screen.is_live else None
    pool = local_pool(
        plan.workers,
        python=plan.python or options.python,
        python_path=[*plan.python_path, *options.python_path, *_own_folders()],
        options=options.client,
        log_level=options.log_level,
        stderr=output.descriptor if output is not None else None,
    )
    stack.callback(_close, pool)
    with interrupts.shield():  # half a second, in which a folder and a process come into being
        pool.start()
    return pool


def _own_folders() -> list[str]:
    """What this process has on its sys.path beyond a fresh interpreter's, but for the folder of the command itself."""
    return [folder for folder in own_python_path() if folder != sysconfig.get_path("scripts")]


def _close(host: Pool | PlacementHost) -> None:
    with interrupts.shield():
        host.close()
