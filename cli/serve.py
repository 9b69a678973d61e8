"""farlayer serve: a server that holds layers for engines on this host or others."""

from __future__ import annotations

import click

from farlayer.cli.caffe_flags import CaffeCommand
from farlayer.cli.options import PYTHON, PYTHON_PATH, existing_folders, log_level_option
from farlayer.server.options import ServerOptions


@click.command(cls=CaffeCommand, short_help="Hold Python layers for engines elsewhere.")
@click.option("--listen", metavar="ADDRESS", required=True, help="unix:/path or host:port; port 0 takes a free one.")
@click.option(
    "--max-workers",
    type=click.IntRange(min=1),
    default=ServerOptions.max_workers,
    show_default=True,
    help="Worker processes at one time.",
)
@PYTHON
@PYTHON_PATH
@click.option(
    "--drain",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    default=ServerOptions.drain_s,
    show_default=True,
    help="After SIGTERM or Ctrl-C: how long layers that are held may go on. A second signal ends all at once.",
)
@click.option(
    "--resume-window",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    default=ServerOptions.resume_window_s,
    show_default=True,
    help="How long a layer outlives the connection of its engine.",
)
@log_level_option(ServerOptions.log_level)
@click.pass_context
def serve(
    context: click.Context,
    *,
    listen: str,
    max_workers: int,
    python: str,
    python_path: tuple[str, ...],
    drain: float,
    resume_window: float,
    log_level: str,
) -> None:
    """Hold Python layers for engines: start, watch and end the worker processes that run them.

    Whoever can reach the address can run code as this user: listen on a unix socket, or on a network that is trusted.
    """
    from farlayer.server.serve import serve as run_server

    options = ServerOptions(
        listen=listen,
        max_workers=max_workers,
        python=python,
        python_path=existing_folders(python_path),
        drain_s=drain,
        resume_window_s=resume_window,
        log_level=log_level,
    )
    context.exit(run_server(options))
