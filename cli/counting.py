"""Progress over many items: a bar on a terminal, and how far it came where it ends early."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TypeVar

from farlayer.cli.console import Screen
from farlayer.cli.signals import Interrupted, interrupts
from farlayer.protos.errors import FarlayerError

Item = TypeVar("Item")


@contextmanager
def counted(
    items: Iterable[Item], what: str, unit: str, screen: Screen, total: int | None = None
) -> Iterator[Iterator[Item]]:
    """Gives the items on inside `with`, and shows how many came.

    Args:
        items: the items.
        what: is done with them: "Converting".
        unit: what they are: "images".
        screen: where it is shown.
        total: how many will come, where that is known.

    Raises:
        FarlayerError: as it comes out of the block, with a note that says how many items were done with; none where
            that says nothing: none were, of an unknown number.
        Interrupted: with the same as its story.
    """
    from rich.progress import Progress

    done = 0
    bar = Progress(console=screen.err, transient=True)

    def count() -> Iterator[Item]:
        nonlocal done
        for item in bar.track(items, total=total, description=what) if screen.is_live else items:
            interrupts.check()
            yield item
            done += 1

    progress = "{} of {} {}" if total is not None else "{0} {2}"
    try:
        with bar if screen.is_live else nullcontext():
            yield count()
    except Interrupted as interruption:
        interruption.story = f"interrupted after {progress.format(done, total, unit)}"
        raise
    except FarlayerError as error:
        if done or total is not None:
            error.add_note(f"after {progress.format(done, total, unit)}")
        raise
