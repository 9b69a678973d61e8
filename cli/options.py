"""Options that several commands share: declared once for click, checked once into frozen dataclasses."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, get_args

import click

from farlayer.cli.console import LOG_LEVELS
from farlayer.client.options import CARRIERS, TRANSPORTS, ClientOptions
from farlayer.engine.data.databases import Backend
from farlayer.engine.kernels.choice import KERNELS
from farlayer.protos.errors import FarlayerError, InputError, PlacementError
from farlayer.protos.protocol import check_address

R = TypeVar("R")


@dataclass(frozen=True)
class HostOptions:
    """Where Python layers run.

    Attributes:
        workers: worker processes at most; None for one a layer.
        addresses: of servers that run already; empty for a local one, started and ended by the command.
        in_process: layers run in the command's own process.
        placement: a placement file that overrides the others for some layers; "" for none.
        python: interpreter of local workers; "" for the command's own.
        python_path: folders, absolute, in which layer modules are looked for first.
        log_level: of the command, and of local servers and workers.
        client: how the engine talks to the workers.
    """

    workers: int | None = None
    addresses: tuple[str, ...] = ()
    in_process: bool = False
    placement: str = ""
    python: str = ""
    python_path: tuple[str, ...] = ()
    log_level: str = "WARNING"
    client: ClientOptions = field(default_factory=ClientOptions)

    def __post_init__(self) -> None:
        for address in self.addresses:
            check_address(address, PlacementError)
        if self.in_process:
            self._refuse(
                "--in-process",
                {
                    "--workers": self.workers is not None or bool(self.addresses),
                    "--carrier": self.client.carrier != "auto",
                    "--transport": self.client.transport != "auto",
                    "--python": bool(self.python),
                },
                "there are no workers",
            )
        if self.addresses:
            self._refuse(
                "--workers ADDRESS",
                {"--python": bool(self.python), "--python-path": bool(self.python_path)},
                "those servers run already: give it to their `farlayer serve`",
            )

    @staticmethod
    def _refuse(option: str, others: dict[str, bool], because: str) -> None:
        for other, is_given in others.items():
            if is_given:
                raise InputError(f"{other} has no meaning with {option}: {because}", remedy="leave one of the two out")


if TYPE_CHECKING:
    _WorkersBase = click.ParamType[int | tuple[str, ...]]
else:
    _WorkersBase = click.ParamType  # older click: not generic


class WorkersType(_WorkersBase):
    """A number of workers, or addresses with commas between."""

    name = "N | ADDRESS,..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | tuple[str, ...]:
        """Tells the two apart."""
        if not isinstance(value, str):
            raise TypeError(f"click gave a {type(value).__name__}")
        if value.strip().isdigit():
            if int(value) < 1:
                self.fail("at least 1 worker is needed (for none at all: --in-process)", param, ctx)
            return int(value)
        addresses = tuple(address.strip() for address in value.split(","))
        for address in addresses:
            try:
                check_address(address, PlacementError)
            except FarlayerError as error:
                self.fail(f"{error.message}; {error.remedy}, or a number of workers.", param, ctx)
        return addresses


def log_level_option(default: str) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """The option that says how much is told of what goes on."""
    return click.option(
        "--log-level",
        type=click.Choice(LOG_LEVELS, case_sensitive=False),
        default=default,
        show_default=True,
        help="How much is told of what goes on, here and in the workers.",
    )


BACKEND = click.option(
    "--backend", type=click.Choice(get_args(Backend)), default="lmdb", show_default=True, help="Kind of the database."
)
PYTHON = click.option(
    "--python",
    metavar="PATH",
    default="",
    help="Interpreter of the workers. Its environment needs farlayer, NumPy and protobuf.  [default: this one]",
)
PYTHON_PATH = click.option(
    "--python-path",
    metavar="FOLDER",
    multiple=True,
    help="Folder to look for layer modules in; may be repeated. The working directory and PYTHONPATH count anyway.",
)

_WHERE_LAYERS_RUN: tuple[Callable[[Callable[..., object]], Callable[..., object]], ...] = (
    click.option(
        "--workers",
        type=WorkersType(),
        help="Worker processes at most, or the servers that hold them.  [default: one for each Python layer]",
    ),
    click.option(
        "--transport",
        type=click.Choice(TRANSPORTS),
        default="auto",
        show_default=True,
        help="How blobs reach the workers. Auto tries shared memory first.",
    ),
    click.option(
        "--carrier",
        type=click.Choice(CARRIERS),
        default="auto",
        show_default=True,
        help="How calls reach the workers. Auto takes the mailbox where memory is shared.",
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        default=ClientOptions.timeout_s,
        show_default=True,
        help="How long one call of a layer may take.",
    ),
    PYTHON,
    PYTHON_PATH,
)
KERNELS_OPTION = click.option(
    "--kernels",
    type=click.Choice(KERNELS),
    default="auto",
    show_default=True,
    help="Whose code does the heavy arithmetic of layers. Auto takes torch where it is installed.",
)
_IN_PROCESS = click.option(
    "--in-process", is_flag=True, help="Run Python layers in this process, as Caffe does: for debugging."
)
_PLACEMENT = click.option(
    "--placement",
    metavar="FILE",
    default="",
    help="TOML file that says for layers, by name, where they run. See docs/workers.md.",
)


def host_options(*, nets: bool) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Adds the options that say where Python layers run; the command gets them as `host: HostOptions`.

    Args:
        nets: whether the command runs nets, whose layers may be placed one by one.
    """

    def decorate(command: Callable[..., R]) -> Callable[..., R]:
        @functools.wraps(command)
        def with_host(
            *args: object,
            workers: int | tuple[str, ...] | None,
            transport: str,
            carrier: str,
            timeout: float,
            python: str,
            python_path: tuple[str, ...],
            log_level: str,
            in_process: bool = False,
            placement: str = "",
            **kwargs: object,
        ) -> R:
            kwargs["host"] = HostOptions(
                workers=workers if isinstance(workers, int) else None,
                addresses=workers if isinstance(workers, tuple) else (),
                in_process=in_process,
                placement=placement,
                python=python,
                python_path=existing_folders(python_path),
                log_level=log_level,
                client=ClientOptions(carrier=carrier, transport=transport, timeout_s=timeout),
            )
            return command(*args, **kwargs)

        options = (*_WHERE_LAYERS_RUN, *((_IN_PROCESS, _PLACEMENT) if nets else ()), log_level_option("WARNING"))
        decorated: Callable[..., object] = with_host
        for option in reversed(options):
            decorated = option(decorated)
        return decorated  # type: ignore[return-value]  # click's decorators return what they are given

    return decorate


def existing_folders(folders: tuple[str, ...]) -> tuple[str, ...]:
    """Makes the folders of --python-path absolute.

    Raises:
        InputError: one is missing.
    """
    for folder in folders:
        if not os.path.isdir(folder):
            raise InputError(f"--python-path: there is no folder '{folder}'", remedy="correct the path")
    return tuple(os.path.abspath(folder) for folder in folders)


def need_file(path: str, option: str) -> str:
    """Checks that a file is there.

    Raises:
        InputError: it is not.
    """
    if not os.path.isfile(path):
        what = "is a folder, not a file" if os.path.isdir(path) else "does not exist"
        raise InputError(f"{option}: '{path}' {what}", remedy=f"correct the path; it is looked for in {os.getcwd()}")
    return path


def split_list(text: str) -> tuple[str, ...]:
    """The parts of a list with commas between, as Caffe's --weights and --stage are written."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
