"""Creates and writes figures in the style that all pictures share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vouch.base.files import atomic_write

# Okabe and Ito's palette, which colour-blind readers can distinguish; dash patterns help in print without colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1)))
INK = "#333333"


def new_figure(width: float, height: float, panels: Sequence[float] = (1.0,)) -> tuple[Figure, list[Axes]]:
    """Return an empty figure and its axes.

    Parameters
    ----------
    width, height : float
        Size in inches.
    panels : sequence of float
        Relative heights of the axes, which are stacked and share the horizontal axis.
    """
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": list(panels)})
    for axes in rows[:, 0]:
        axes.grid(color="#e6e6e6", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(color="#999999", labelcolor=INK, labelsize=9)
        for spine in axes.spines.values():
            spine.set_color("#999999")
    return figure, list(rows[:, 0])


def write_picture(file: IO[bytes], figure: Figure) -> None:
    """Write a figure as PNG."""
    figure.savefig(file, format="png")


def save_picture(path: str | Path, figure: Figure) -> None:
    """Write a figure as PNG to a file, whole or not at all."""
    with atomic_write(path, "wb") as file:
        write_picture(file, figure)
