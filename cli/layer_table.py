"""The table of where each Python layer ran."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from farlayer.cli.formats import seconds, size
from farlayer.client.launchers.local import is_local_server
from farlayer.client.session import SessionReport

_UNBOUNDED_WIDTH = 1000


def layer_table(reports: Sequence[SessionReport], console: Console) -> Table:
    """Makes the table: one line for each layer and phase where that fits, else several.

    Args:
        reports: of the sessions of all nets; those of one layer come together.
        console: where it will be printed.
    """
    order = {name: position for position, name in enumerate(dict.fromkeys(report.layer for report in reports))}
    rows = sorted(reports, key=lambda report: order[report.layer])
    wide = _wide(rows)
    unbounded = console.options.update(max_width=_UNBOUNDED_WIDTH)
    return wide if Measurement.get(console, unbounded, wide).maximum <= console.width else _narrow(rows)


def _wide(reports: Sequence[SessionReport]) -> Table:
    table = _table(
        "Layer", "Phase", "Class", "Worker", "PID>", "Carrier", "Transport", "Calls>", "Mean call>", "Moved>"
    )
    for report in reports:
        server = _server(report)
        _add_row(
            table,
            report.layer,
            report.phase,
            report.type,
            _worker(report) + (f" at {server}" if server else ""),
            str(report.pid),
            report.carrier,
            report.transport,
            str(report.calls),
            _mean_call(report),
            size(report.bytes_moved),
        )
    return table


def _narrow(reports: Sequence[SessionReport]) -> Table:
    table = _table("Layer, phase\nClass", "Worker\nPID", "Carrier\nTransport", "Calls>", "Mean call>", "Moved>")
    for report in reports:
        server = _server(report)
        _add_row(
            table,
            f"{report.layer}, {report.phase}\n{report.type}" + (f"\nat {server}" if server else ""),
            f"{_worker(report)}\n{report.pid}",
            f"{report.carrier}\n{report.transport}",
            str(report.calls),
            _mean_call(report),
            size(report.bytes_moved),
        )
    return table


def _table(*headings: str) -> Table:
    table = Table(
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        title="Python layers",
        title_justify="left",
        title_style="bold",
    )
    for heading in headings:
        is_number = heading.endswith(">")
        table.add_column(
            heading.rstrip(">"), justify="right" if is_number else "left", no_wrap=is_number, overflow="fold"
        )
    return table


def _add_row(table: Table, *cells: str) -> None:
    """Adds cells as they are: in a plain str, rich would take a name like [red] for markup."""
    table.add_row(*(Text(cell) for cell in cells))


def _worker(report: SessionReport) -> str:
    return report.worker if report.server else "this process"


def _server(report: SessionReport) -> str:
    """The server's address; "" for a layer in this process, and for a server of our own making."""
    return "" if is_local_server(report.server) else report.server


def _mean_call(report: SessionReport) -> str:
    return seconds(report.call_seconds / report.calls) if report.calls else "-"
