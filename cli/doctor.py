"""farlayer doctor: what was negotiated with the workers and why, what this machine offers, what is missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from rich.text import Text

from farlayer.cli.caffe_flags import CaffeCommand
from farlayer.cli.console import Screen
from farlayer.cli.formats import seconds, size
from farlayer.cli.options import HostOptions, host_options

if TYPE_CHECKING:
    from farlayer.cli.environment import Extra, Fact
    from farlayer.cli.probe import ServerCheck

_NAME_WIDTH = 15
_SMALL_BYTES = 1024


@click.command(cls=CaffeCommand, short_help="Try out the workers; tell what works, how fast, what is missing.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@host_options(nets=False)
@click.pass_context
def doctor(context: click.Context, *, host: HostOptions, as_json: bool) -> None:
    """Try out the workers, and tell what was negotiated, why, how fast it is, and what is missing.

    Starts a local server and a worker, or uses the servers that --workers names. The exit code is 0 where a layer
    could be run on each of them.
    """
    from farlayer.cli.environment import environment_facts, extras
    from farlayer.cli.probe import check_servers

    screen: Screen = context.obj
    screen.configure_logging(host.log_level)
    checks = check_servers(host, screen)
    if as_json:
        click.echo(json.dumps(_as_json(checks, environment_facts(), extras()), indent=2))
    else:
        _print_report(screen, checks, environment_facts(), extras())
    context.exit(1 if any(check.error for check in checks) else 0)


def _print_report(
    screen: Screen, checks: Sequence[ServerCheck], facts: Sequence[Fact], optional: Sequence[Extra]
) -> None:
    for check in checks:
        _heading(screen, f"Server {check.address}" if check.address else "Local server, started for this trial")
        if check.error is not None:
            _print_error(screen, check)
        else:
            _print_check(screen, check)
    _heading(screen, "This environment")
    for fact in facts:
        _line(screen, fact.name, fact.value, fact.warning)
    _heading(screen, "Optional parts")
    for extra in optional:
        if extra.missing:
            _line(screen, extra.name, f"for {extra.purpose}: {', '.join(extra.missing)} missing")
            _line(screen, "", extra.install)
        else:
            _line(screen, extra.name, f"for {extra.purpose}: {', '.join(extra.present)}")


def _print_error(screen: Screen, check: ServerCheck) -> None:
    error = check.error
    assert error is not None
    screen.out.print(Text.assemble(("  failed: ", "bold red"), error.message), soft_wrap=True)
    if error.remedy:
        screen.out.print(Text.assemble(("  remedy: ", "bold"), error.remedy), soft_wrap=True)


def _print_check(screen: Screen, check: ServerCheck) -> None:
    worker = check.worker_environment or {}
    grpc = worker.get("grpc_loaded")
    _line(screen, "server", f"{check.software}, Python {check.python}, pid {check.pid}")
    _line(screen, "protocol", f"version {check.protocol_version}; at most {check.max_workers} workers")
    _line(screen, "carrier", check.carrier)
    _line(screen, "transport", check.transport)
    _line(screen, "reason", check.reason)
    _line(
        screen,
        "worker",
        f"{check.worker}, Python {worker.get('python')}, NumPy {worker.get('numpy')}, "
        f"protobuf {worker.get('protobuf')}, pid {worker.get('pid')}",
    )
    _line(
        screen,
        "gRPC there",
        "loaded" if grpc else "not loaded",
        "layers that fork or start pools may hang" if grpc else "",
    )
    for timing in check.timings:
        rate = (
            f", {size(2 * timing.size_bytes / timing.call_s)}/s both ways" if timing.size_bytes > _SMALL_BYTES else ""
        )
        _line(screen, f"{size(timing.size_bytes)} call", f"{seconds(timing.call_s)}, median{rate}")


def _heading(screen: Screen, text: str) -> None:
    screen.out.print(Text(text, "bold"), soft_wrap=True)


def _line(screen: Screen, name: str, value: str, warning: str = "") -> None:
    text = Text.assemble(f"  {name:<{_NAME_WIDTH}}", value)
    if warning:
        text.append(f"  ({warning})", "yellow")
    screen.out.print(text, soft_wrap=True)


def _as_json(
    checks: Sequence[ServerCheck], facts: Sequence[Fact], optional: Sequence[Extra]
) -> dict[str, list[dict[str, object]]]:
    servers = []
    for check in checks:
        entry: dict[str, object] = {**vars(check), "timings": [vars(timing) for timing in check.timings]}
        if check.error is not None:
            entry = {
                "address": check.address,
                "error": {
                    "type": type(check.error).__name__,
                    "message": check.error.message,
                    "remedy": check.error.remedy,
                },
            }
        servers.append(entry)
    return {
        "servers": servers,
        "environment": [dict(vars(fact)) for fact in facts],
        "extras": [dict(vars(extra)) for extra in optional],
    }
