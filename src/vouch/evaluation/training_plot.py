"""Draws the training curves: loss, validation EER and learning rate of each epoch."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vouch.evaluation.pictures import COLOURS, INK, new_figure, write_picture

# Larger than any loss; matplotlib cannot place ticks for much larger numbers.
_LARGEST = 1e30
# Beyond this number of epochs, points are drawn as a line only.
_MOST_DOTS = 60


def draw_training(history: Sequence[Mapping[str, float]], kept: int) -> Figure | None:
    """Draw the training history with one panel for each figure; None if the history is empty.

    Parameters
    ----------
    history : sequence of mapping of str to float
        For each epoch "epoch", "loss" and, where known, "eer" (0 to 1) and "learning_rate".
    kept : int
        Epoch whose weights became the model; the plot marks it.

    Raises
    ------
    KeyError, TypeError, ValueError
        The history has another form.
    """
    kinds = {
        "training loss": _points(history, "loss"),
        "validation EER (%)": [(epoch, 100 * eer) for epoch, eer in _points(history, "eer", optional=True)],
        "learning rate": _points(history, "learning_rate", optional=True),
    }
    heights = {"training loss": 3.0, "validation EER (%)": 3.0, "learning rate": 1.5}
    shown = {name: points for name, points in kinds.items() if points}
    if "training loss" not in shown:
        return None
    ratios = [heights[name] for name in shown]
    figure, panels = new_figure(7.2, 0.9 + 0.7 * sum(ratios), ratios)
    for axes, (name, points) in zip(panels, shown.items(), strict=True):
        colour = COLOURS[list(kinds).index(name)]
        marker = "o" if len(points) <= _MOST_DOTS else ""
        axes.plot(*zip(*points, strict=True), marker=marker, markersize=3.5, color=colour, linewidth=1.6)
        axes.set_ylabel(name)
        if name == "learning rate" and min(rate for _, rate in points) > 0:
            axes.set_yscale("log")
        if kept in dict(kinds["training loss"]):
            axes.axvline(kept, color=INK, linestyle="--", linewidth=1.1)
        if kept in dict(points):
            axes.plot(kept, dict(points)[kept], "o", markersize=7, markerfacecolor=colour, markeredgecolor=INK)
    panels[0].set_title(_title(kinds["validation EER (%)"], kept), pad=12)
    panels[-1].set_xlabel("epoch")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def training_png(history: Sequence[Mapping[str, float]], kept: int) -> bytes:
    """Return the plot as PNG, or no bytes if the history has no epochs; see `draw_training`."""
    figure = draw_training(history, kept)
    if figure is None:
        return b""
    png = io.BytesIO()
    write_picture(png, figure)
    return png.getvalue()


def _points(history: Sequence[Mapping[str, float]], name: str, optional: bool = False) -> list[tuple[float, float]]:
    """Return (epoch, value) points of a figure; an optional one may be missing in some epochs."""
    having = [epoch for epoch in history if name in epoch] if optional else history
    points = [(float(epoch["epoch"]), float(epoch[name])) for epoch in having]
    return [point for point in points if max(map(abs, point)) < _LARGEST]


def _title(eers: Sequence[tuple[float, float]], kept: int) -> str:
    eer = dict(eers).get(kept)
    return f"Training; epoch {kept:g} is kept" + ("" if eer is None else f", validation EER {eer:.2f} %")
