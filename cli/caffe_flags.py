"""Caffe's way of writing flags, for click: -solver x, --solver=x, --in_process, --shuffle=true, --noshuffle."""

from __future__ import annotations

import re

import click

_FLAG = re.compile(r"--?(?P<name>[A-Za-z][A-Za-z0-9_-]+)(?P<value>=.*)?", re.DOTALL)
_NOT_HERE = {"--gpu": "the engine runs on the CPU: leave it out"}
"""Flags of Caffe's tools that have no meaning here, and why."""
_YES = {"1", "t", "true", "y", "yes"}
_NO = {"0", "f", "false", "n", "no"}


class CaffeCommand(click.Command):
    """A command whose options may be written with one dash or two, with dashes or underscores inside.

    Switches may have a value, or a "no" before their name.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Rewrites the flags as click knows them; values, and what follows a bare --, stay as they are."""
        takes_value = {
            name
            for param in self.params
            if isinstance(param, click.Option) and not param.is_flag
            for name in (*param.opts, *param.secondary_opts)
        }
        switches = {
            name for param in self.params if isinstance(param, click.Option) and param.is_flag for name in param.opts
        }
        rewritten: list[str] = []
        is_value = is_behind_end = False
        for arg in args:
            match = _FLAG.fullmatch(arg)
            if match is None or is_value or is_behind_end:
                is_behind_end = is_behind_end or (arg == "--" and not is_value)
                is_value = False
                rewritten.append(arg)
                continue
            flag = "--" + match["name"].replace("_", "-")
            if flag in _NOT_HERE and flag not in takes_value | switches:
                raise click.NoSuchOption(flag, f"There is no {flag}: {_NOT_HERE[flag]}.", ctx=ctx)
            switch = _written_as_gflags_do(flag, match["value"], switches)
            if switch is not None:
                rewritten.extend(switch)
                continue
            is_value = flag in takes_value and match["value"] is None
            rewritten.append(flag + (match["value"] or ""))
        return super().parse_args(ctx, rewritten)


def _written_as_gflags_do(flag: str, value: str | None, switches: set[str]) -> list[str] | None:
    """What click calls a switch that is written with a value or a "no"; None for anything else."""
    if flag in switches and value is not None:
        if value[1:].lower() in _YES:
            return [flag]
        return [] if value[1:].lower() in _NO else None
    is_off = value is None and flag.startswith("--no") and "--" + flag.removeprefix("--no") in switches
    return [] if is_off else None
