"""Which layer runs where, by a file that the user writes beside an unchanged prototxt.

    # placement.toml
    [pools.big]                      # a pool of its own: a local server,
    workers = 2                      #   with at most two worker processes,
    python = "/venvs/old/bin/python" #   run by another interpreter,
    python_path = ["layers/old"]     #   with more folders to look for modules in

    [pools.far]                      # or servers that run already
    addresses = ["10.0.0.7:7070", "unix:/run/farlayer.sock"]

    [[layers]]                       # the first entry whose pattern fits a layer's name decides
    name = "loss*"                   # shell pattern: * ? [abc]
    on = "in-process"

    [[layers]]
    name = "data"
    on = "pool:big"                  # a pool of this file

    [[layers]]
    name = "slow_[0-9]"
    on = "10.0.0.8:7070"             # a server, by its address

Layers that no pattern fits run where they would run without the file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType

from farlayer.blobs.segment import Allocator
from farlayer.client.host import LayerHost
from farlayer.client.in_process_host import InProcessHost
from farlayer.client.launchers.local import own_python_path
from farlayer.client.options import ClientOptions
from farlayer.client.pool import Pool, local_pool, static_pool
from farlayer.client.session import LayerSession, LayerSpec
from farlayer.protos.errors import PlacementError
from farlayer.protos.protocol import check_address

IN_PROCESS = "in-process"
_POOL_PREFIX = "pool:"


@dataclass(frozen=True)
class PoolPlan:
    """A pool of a placement file: servers by address, or a local server where there are none."""

    addresses: tuple[str, ...] = ()
    workers: int | None = None
    python: str = ""
    python_path: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """Layers whose name fits `pattern` run on `target`: "in-process", "pool:NAME" or an address."""

    pattern: str
    target: str


@dataclass(frozen=True)
class Placement:
    """A placement file, checked."""

    rules: tuple[Rule, ...] = ()
    pools: Mapping[str, PoolPlan] = field(default_factory=dict)

    def target(self, layer_name: str) -> str:
        """Where a layer runs; "" where no rule fits."""
        return next((rule.target for rule in self.rules if fnmatchcase(layer_name, rule.pattern)), "")


def load_placement(path: Path | str) -> Placement:
    """Reads and checks a placement file.

    Raises:
        PlacementError: it cannot be read, or something in it makes no sense; says which entry, and what is known.
    """
    try:
        with open(path, "rb") as stream:
            document = tomllib.load(stream)
    except OSError as error:
        raise PlacementError(f"placement file {path}: {error.strerror}", remedy="check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PlacementError(f"placement file {path}: {error}", remedy="it is a TOML file") from error
    checker = _Checker(str(path), Path(path).resolve().parent)
    checker.only(document, ("pools", "layers"), "the file")
    pools = {name: checker.pool(name, table) for name, table in checker.table(document, "pools").items()}
    entries = document.get("layers", [])
    if not isinstance(entries, list):
        raise checker.error("layers", "an array of tables", "write [[layers]]")
    rules = tuple(checker.rule(number, entry, pools) for number, entry in enumerate(entries, 1))
    return Placement(rules, pools)


class _Checker:
    """Reads the tables of one file, with errors that name the entry."""

    def __init__(self, path: str, folder: Path) -> None:
        self._path = path
        self._folder = folder

    def error(self, where: str, expected: str, remedy: str = "") -> PlacementError:
        return PlacementError(f"placement file {self._path}: {where}: expected {expected}", remedy=remedy)

    def only(self, table: Mapping[str, object], known: tuple[str, ...], where: str) -> None:
        for key in table:
            if key not in known:
                raise PlacementError(
                    f"placement file {self._path}: {where} has an unknown key '{key}'",
                    remedy=f"known keys: {', '.join(known)}",
                )

    def table(self, parent: Mapping[str, object], key: str) -> dict[str, object]:
        found = parent.get(key, {})
        if not isinstance(found, dict):
            raise self.error(key, "a table")
        return found

    def pool(self, name: str, table: object) -> PoolPlan:
        where = f"pools.{name}"
        if not isinstance(table, dict):
            raise self.error(where, "a table")
        self.only(table, ("addresses", "workers", "python", "python_path"), where)
        addresses = tuple(self._texts(table, "addresses", where))
        if "addresses" in table and not addresses:
            raise self.error(f"{where}.addresses", "at least one address", "leave it out for a local server")
        for address in addresses:
            check_address(address, PlacementError)
        if addresses and ("python" in table or "python_path" in table):
            raise self.error(
                where, "either addresses, or python and python_path", "a server's own options decide these"
            )
        workers = table.get("workers")
        if workers is not None and (type(workers) is not int or workers < 1):
            raise self.error(f"{where}.workers", "a whole number above 0")
        python = table.get("python", "")
        if not isinstance(python, str):
            raise self.error(f"{where}.python", "a path")
        folders = tuple(str(self._folder / folder) for folder in self._texts(table, "python_path", where))
        return PoolPlan(addresses, workers, python, folders)

    def _texts(self, table: Mapping[str, object], key: str, where: str) -> list[str]:
        found = table.get(key, [])
        if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
            raise self.error(f"{where}.{key}", "an array of strings")
        return found

    def rule(self, number: int, entry: object, pools: Mapping[str, PoolPlan]) -> Rule:
        where = f"layers entry {number}"
        if not isinstance(entry, dict):
            raise self.error(where, "a table", "write [[layers]]")
        self.only(entry, ("name", "on"), where)
        pattern, target = entry.get("name"), entry.get("on")
        if not isinstance(pattern, str) or not isinstance(target, str):
            raise self.error(where, "name = a pattern and on = a place, both strings")
        if target.startswith(_POOL_PREFIX):
            name = target[len(_POOL_PREFIX) :]
            if name not in pools:
                raise self.error(
                    where, f"a pool of the file, not '{name}'", f"known pools: {', '.join(pools) or 'none'}"
                )
        elif target != IN_PROCESS:
            try:
                check_address(target, PlacementError)
            except PlacementError as error:
                raise self.error(
                    where, f'on = "in-process", "pool:NAME" or an address, not \'{target}\'', error.remedy
                ) from error
        return Rule(pattern, target)


def start_local_pool(plan: PoolPlan, options: ClientOptions) -> Pool:
    """Starts the local server of a plan; its workers look for modules in the plan's folders, then in our own."""
    folders = [*plan.python_path, *own_python_path()]
    pool = local_pool(plan.workers, python=plan.python, python_path=folders, options=options)
    pool.start()
    return pool


class PlacementHost:
    """Sends each layer to the place that a placement file gives it. Starts the pools that are used, when they are.

    Args:
        default: for layers that no rule fits; owned by the caller.
        start_local: starts the pool of a plan without addresses; the pool is closed here. None for start_local_pool.
    """

    def __init__(
        self,
        default: LayerHost,
        placement: Placement,
        options: ClientOptions | None = None,
        *,
        start_local: Callable[[PoolPlan], Pool] | None = None,
    ) -> None:
        self._default = default
        self._placement = placement
        self._options = options or ClientOptions()
        self._start_local = start_local
        self._hosts: dict[str, LayerHost] = {}
        self._stack = ExitStack()

    def session(self, spec: LayerSpec) -> LayerSession:
        """See LayerHost."""
        return self._host(spec.name).session(spec)

    def allocator(self, layer_name: str) -> Allocator:
        """See LayerHost."""
        return self._host(layer_name).allocator(layer_name)

    def close(self) -> None:
        """Ends the pools that were started for the file. The default host stays."""
        self._stack.close()
        self._hosts.clear()

    def __enter__(self) -> PlacementHost:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _host(self, layer_name: str) -> LayerHost:
        target = self._placement.target(layer_name)
        if not target:
            return self._default
        if target not in self._hosts:
            host = self._started(target)
            self._stack.callback(host.close)
            self._hosts[target] = host
        return self._hosts[target]

    def _started(self, target: str) -> Pool | InProcessHost:
        if target == IN_PROCESS:
            return InProcessHost(self._options)
        if target.startswith(_POOL_PREFIX):
            plan = self._placement.pools[target[len(_POOL_PREFIX) :]]
        else:
            plan = PoolPlan((target,))
        if plan.addresses:
            pool = static_pool(plan.addresses, workers=plan.workers, options=self._options)
            pool.start()
            return pool
        return self._start_local(plan) if self._start_local else start_local_pool(plan, self._options)
