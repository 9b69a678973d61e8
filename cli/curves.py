"""Curves of a training run as a picture: loss above, the other test scores below."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from farlayer.cli.history import RunHistory
from farlayer.protos.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FORMATS = (".png", ".pdf", ".svg")
_SMOOTH_PARTS = 50
"""The smoothed curve averages over so great a part of the run as one in this number."""


def check_plot(path: str) -> None:
    """Finds out before training, not after it, that the picture cannot be made.

    Raises:
        InputError: matplotlib is missing, or the path is wrong.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError(
            "--plot needs matplotlib, which is not installed", remedy="python -m pip install 'farlayer[plot]'"
        )
    if Path(path).suffix.lower() not in _FORMATS:
        raise InputError(f"--plot: '{path}' is no name of a picture", remedy=f"end it with {', '.join(_FORMATS)}")
    if not Path(path).absolute().parent.is_dir():
        raise InputError(f"--plot: the folder of '{path}' does not exist", remedy="make it, or correct the path")


def write_curves(history: RunHistory, path: str, *, title: str, losses: Collection[str]) -> None:
    """Draws the curves.

    Args:
        history: of the run.
        path: the file; its ending is the format.
        title: above the picture.
        losses: names of test outputs that are losses: drawn with the train loss.

    Raises:
        InputError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tests = _test_curves(history)
    has_scores = any(output not in losses for _, output in tests)
    figure = Figure(figsize=(8, 6 if has_scores else 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2 if has_scores else 1, 1, sharex=True, squeeze=False)[:, 0]
    figure.suptitle(title)
    _draw_train_loss(axes[0], history)
    for (net, output), (iterations, values) in tests.items():
        label = output if net == 0 else f"{output} (test net {net})"
        if output in losses:
            axes[0].plot(iterations, values, "o-", color="C1", markersize=4, label=f"{label}, test")
        else:
            axes[1].plot(iterations, values, "o-", markersize=4, label=f"{label}, test: {values[-1]:.4g}")
    for axis, name in zip(axes, ("loss", "test score"), strict=False):
        axis.set_ylabel(name)
        axis.grid(visible=True, alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend()
    axes[-1].set_xlabel("iteration")
    try:
        figure.savefig(path)
    except OSError as error:
        raise InputError(
            f"--plot: '{path}' cannot be written: {error.strerror or error}", remedy="choose another folder"
        ) from error


def _draw_train_loss(axis: Axes, history: RunHistory) -> None:
    losses = history.losses
    axis.plot(history.iterations, losses, color="C0", alpha=0.35, linewidth=0.8)
    span = max(1, len(losses) // _SMOOTH_PARTS)
    smooth = [sum(losses[max(0, end - span) : end]) / min(span, end) for end in range(1, len(losses) + 1)]
    axis.plot(history.iterations, smooth, color="C0", label="train" if span == 1 else f"train, mean of {span}")
    if losses and min(losses) > 0:
        axis.set_yscale("log")


def _test_curves(history: RunHistory) -> dict[tuple[int, str], tuple[list[int], list[float]]]:
    """By net and output: iterations and values. Outputs of more than one value are left out."""
    curves: dict[tuple[int, str], tuple[list[int], list[float]]] = {}
    for result in history.tests:
        for output, values in result.outputs.items():
            if len(values) == 1:
                iterations, points = curves.setdefault((result.net, output), ([], []))
                iterations.append(result.iteration)
                points.append(values[0])
    return curves
