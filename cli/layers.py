"""farlayer layers: the native layer types, and what each computes."""

from __future__ import annotations

import inspect

import click

from farlayer.cli.caffe_flags import CaffeCommand
from farlayer.cli.console import Screen

_NAME_WIDTH = 25


@click.command("layers", cls=CaffeCommand, short_help="List the layer types, or describe one.")
@click.argument("layer_type", metavar="[TYPE]", default="")
@click.pass_obj
def layers(screen: Screen, *, layer_type: str) -> None:
    """List the native layer types, or describe one: its bottoms, tops, params and formula.

    Types that other packages supply by entry points are among them. Any other layer is a Python layer.
    """
    from farlayer.engine.registry import known_types, layer_class

    if not layer_type:
        for name in known_types():
            screen.out.print(f"{name:<{_NAME_WIDTH}}{_first_sentence(layer_class(name))}", soft_wrap=True, markup=False)
        return
    found = layer_class(layer_type)
    screen.out.print(f"{found.type_name}: {inspect.getdoc(found) or 'no description'}", soft_wrap=True, markup=False)


def _first_sentence(layer_class: type) -> str:
    """The first sentence about a class: of its module, without the type's name, where that has one alone."""
    module = inspect.getmodule(layer_class)
    lines = (getattr(module, "__doc__", "") or inspect.getdoc(layer_class) or "").strip().splitlines()
    head, _, rest = (lines[0] if lines else "").partition(": ")
    return rest or head
