"""Draws the DET curve and the histogram of target and non-target scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from scipy.special import ndtri

from vouch.base.errors import VouchError
from vouch.evaluation.metrics import Roc, roc
from vouch.evaluation.pictures import COLOURS, DASHES, INK, new_figure, save_picture
from vouch.evaluation.result import Result


class _MarkerStyle(TypedDict):
    markersize: float
    markeredgecolor: str
    markeredgewidth: float


_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")  # EER, then one for each target prior
_MARKER_STYLE: _MarkerStyle = {"markersize": 7, "markeredgecolor": INK, "markeredgewidth": 0.8}
# Limits of both axes of every DET plot, so that plots can be compared.
DET_LOW, DET_HIGH = 1e-4, 0.6
_TICKS = (DET_LOW, 5e-4, 1e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, DET_HIGH)
_LEAST_RATE = 1e-8  # replaces a rate of 0: outside the axes, but finite when warped
_DOTS = 1000  # along one axis; finer steps cannot be seen
_PARTS = np.arange(1, 50) / 50  # fractions of a step
_CEILING = 1 - 1e-9  # replaces a rate of 1: far outside the axes, but finite when warped
LEAST_BINS, MOST_BINS = 20, 200  # bins of a histogram
_LONGEST_NAME = 40  # characters
_AXIS_POINTS, _LETTER, _LINE = 400, 5, 10  # length of an axis, and width and height of small letters, in points


class System(NamedTuple):
    """Data of one system for a plot: figures, (trials,) scores and (trials,) bool labels."""

    result: Result
    scores: np.ndarray
    is_target: np.ndarray


class _Outside(NamedTuple):
    """A marker with a rate outside the axes: its place on their edge, its rates, its colour."""

    place: tuple[float, float]
    text: str
    colour: str


def plot_det(path: str | Path, systems: Sequence[System]) -> None:
    """Draw the detection error trade-off of one or several systems as PNG (Martin et al., 1997).

    Both axes are warped by the inverse normal distribution, so that normally distributed scores give straight lines,
    and go from `DET_LOW` to `DET_HIGH` in every plot. A circle marks the EER of each system, other markers its minimum
    detection costs. Markers with a rate outside the axes, such as 0, are drawn on the edge, labelled with their rates.

    Raises
    ------
    VouchError
        The systems have detection costs at different target priors, or at more priors than there are markers.
    """
    priors = {tuple(system.result.min_dcf) for system in systems}
    if len(priors) > 1 or len(next(iter(priors))) >= len(_MARKERS):
        raise VouchError(f"a DET plot needs the same target priors for all systems, {len(_MARKERS) - 1} at most")
    curves = [roc(system.scores, system.is_target) for system in systems]
    optima = [_optima(curve, system.result) for curve, system in zip(curves, systems, strict=True)]
    # Room for the legend below the axes, which has a line for each system.
    figure, (axes,) = new_figure(6.4, 7.35 + 0.2 * len(systems))
    ends = ndtri([DET_LOW, DET_HIGH])
    axes.plot(ends, ends, color="#bbbbbb", linewidth=0.8, zorder=1)
    outside = []
    for number, (curve, points) in enumerate(zip(curves, optima, strict=True)):
        colour = COLOURS[number % len(COLOURS)]
        x, y = _warped(curve, systems[number].result)
        axes.plot(x, y, color=colour, linestyle=DASHES[number % len(DASHES)], linewidth=1.8, zorder=3)
        for marker, rates in zip(_MARKERS, points, strict=False):
            place = ndtri(np.clip(rates, DET_LOW, DET_HIGH))
            axes.plot(*place, marker, **_MARKER_STYLE, markerfacecolor=colour, clip_on=False, zorder=4)
            if min(rates) < DET_LOW or max(rates) > DET_HIGH:
                outside.append(
                    _Outside((float(place[0]), float(place[1])), "{:.3g} / {:.3g} %".format(*(100 * rates)), colour)
                )
    _warp_axes(axes)
    _write_rates(axes, outside)
    axes.set_title("Detection error trade-off", pad=30)
    _det_legends(axes, systems)
    save_picture(path, figure)


def plot_histogram(path: str | Path, system: System) -> None:
    """Draw the densities of target and non-target scores and the thresholds of the EER and of minDCF as PNG.

    The threshold of a minimum detection cost is not drawn if rejecting every trial reaches that cost.
    """
    result, scores, is_target = system
    figure, (axes,) = new_figure(7.2, 4.4)
    edges = _bin_edges(scores, count_bins(scores[is_target], scores[~is_target]))
    kinds = (("non-target", ~is_target, COLOURS[0]), ("target", is_target, COLOURS[1]))
    for name, chosen, colour in kinds:
        density, _ = np.histogram(scores[chosen], edges, density=True)
        axes.stairs(density, edges, fill=True, color=colour, alpha=0.35)
        axes.stairs(density, edges, color=colour, linewidth=1.4, label=f"{name} ({np.count_nonzero(chosen):,} trials)")
    thresholds = {f"EER {result.eer.value:.2f} % at score {result.eer.threshold:.4g}": result.eer.threshold}
    for prior, (cost, threshold) in result.min_dcf.items():
        if np.isfinite(threshold):
            thresholds[f"minDCF({prior:g}) {cost:.3f} at score {threshold:.4g}"] = threshold
    for number, (label, threshold) in enumerate(thresholds.items()):
        axes.axvline(threshold, color=INK, linestyle=DASHES[1 + number % 5], linewidth=1.2, label=label)
    axes.set_title(_legible(result.system), pad=12)
    axes.set_xlabel("score")
    axes.set_ylabel("density")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False, fontsize=9)
    save_picture(path, figure)


def count_bins(targets: np.ndarray, nontargets: np.ndarray) -> int:
    """Return the number of equal bins that suits both kinds of trials, from `LEAST_BINS` to `MOST_BINS`.

    The width is that of Freedman and Diaconis (1981), 2 IQR n^(-1/3), with the smaller interquartile range and the
    smaller number of scores of the two kinds: fine enough for both shapes, without mostly empty bins.

    Parameters
    ----------
    targets, nontargets : ndarray
        (trials of this kind,) scores, at least one of each kind.
    """
    kinds = targets, nontargets
    spreads = [float(np.subtract(*np.quantile(scores, (0.75, 0.25)))) for scores in kinds]
    width = 2 * min(filter(None, spreads), default=np.inf) * min(map(len, kinds)) ** (-1 / 3)
    reach = max(map(np.max, kinds)) - min(map(np.min, kinds))
    return int(np.clip(np.ceil(reach / width), LEAST_BINS, MOST_BINS))


def _bin_edges(scores: np.ndarray, bins: int) -> np.ndarray:
    """Return the edges of equal bins over all scores; the range is widened if the scores are too close together."""
    low, high = np.min(scores), np.max(scores)
    finest = 1e-9 * max(abs(low), abs(high)) + 1e-200
    if high - low < finest:
        room = max(finest, 0.5) if low == high else finest
        low, high = low - room, high + room
    return np.linspace(low, high, bins + 1)


def _optima(curve: Roc, result: Result) -> np.ndarray:
    """Return the (false alarm, miss) rates of the EER and of each minimum detection cost: (markers, 2)."""
    rows = np.searchsorted(curve.threshold, [point.threshold for point in result.min_dcf.values()])
    equal = [result.eer.value / 100] * 2
    return np.vstack([equal, np.column_stack([curve.false_alarm[rows], curve.miss[rows]])])


def _write_rates(axes: Axes, outside: Sequence[_Outside]) -> None:
    """Label the markers on the edge with their rates, inside the axes and without overlap."""
    start, end = ndtri([DET_LOW, DET_HIGH])
    # Left end, right end and row of each label, in points; letters are assumed to have an average width and height.
    taken: list[tuple[float, float, int, bool]] = []
    for place, text, colour in dict.fromkeys(outside):
        right, up = (value < (start + end) / 2 for value in place)
        width = _LETTER * len(text)
        left = (place[0] - start) / (end - start) * _AXIS_POINTS - (0 if right else width)
        row = 0
        while any(up == side and row == other and left < b and a < left + width for a, b, other, side in taken):
            row += 1
        taken.append((left, left + width, row, up))
        offset = 7 if right else -7, (5 + _LINE * row) * (1 if up else -1)
        axes.annotate(
            text,
            place,
            offset,
            textcoords="offset points",
            ha="left" if right else "right",
            va="bottom" if up else "top",
            fontsize=8,
            color=colour,
            bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.5},
            zorder=5,
        )


def _warped(curve: Roc, result: Result) -> tuple[np.ndarray, np.ndarray]:
    """Return warped (false alarm, miss) rates, without points on the same pixel as both of their neighbours."""
    rates = np.column_stack([curve.false_alarm, curve.miss])
    # A rate of 0 is drawn on the edge of the axes if one error in all trials would lie outside of them.
    trials = np.array([result.nontargets, result.targets])
    floor = np.where(DET_LOW * trials < 1, DET_LOW, _LEAST_RATE)
    dot = (ndtri(DET_HIGH) - ndtri(DET_LOW)) / _DOTS
    dots = np.rint(ndtri(np.clip(rates, floor, _CEILING)) / dot)
    moves = np.any(np.diff(dots, axis=0), axis=1)
    keep = np.append(True, moves) | np.append(moves, True)
    rates, dots = rates[keep], dots[keep]
    # Tied scores give slanted steps: straight lines between rates, which become curves on the warped axes.
    slanted = np.flatnonzero(np.all(np.abs(np.diff(dots, axis=0)) > 2, axis=1))
    rows = np.sort(np.append(np.arange(len(rates)), slanted[:, None] + _PARTS))
    x, y = (np.interp(rows, np.arange(len(rates)), rate) for rate in rates.T)
    return ndtri(np.clip(x, floor[0], _CEILING)), ndtri(np.clip(y, floor[1], _CEILING))


def _warp_axes(axes: Axes) -> None:
    labels = [f"{100 * tick:g}" for tick in _TICKS]
    axes.set_xticks(ndtri(_TICKS), labels)
    axes.set_yticks(ndtri(_TICKS), labels)
    axes.set_xlim(*ndtri([DET_LOW, DET_HIGH]))
    axes.set_ylim(*ndtri([DET_LOW, DET_HIGH]))
    axes.set_aspect("equal")
    axes.set_xlabel("false-alarm rate (%)")
    axes.set_ylabel("miss rate (%)")


def _det_legends(axes: Axes, systems: Sequence[System]) -> None:
    names = ("EER", *(f"minDCF({prior:g})" for prior in systems[0].result.min_dcf))
    key = [
        Line2D([], [], linestyle="", marker=marker, markerfacecolor="white", **_MARKER_STYLE, label=name)
        for marker, name in zip(_MARKERS, names, strict=False)
    ]
    columns = min(4, len(key))
    above = axes.legend(
        handles=key, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, frameon=False, fontsize=9
    )
    axes.add_artist(above)
    lines = []
    for number, (result, _, _) in enumerate(systems):
        costs = " / ".join(f"{point.value:.3f}" for point in result.min_dcf.values())
        label = f"{_legible(result.system)}: EER {result.eer.value:.2f} %, minDCF {costs}"
        colour, dashes = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
        lines.append(Line2D([], [], linewidth=1.8, label=label, color=colour, linestyle=dashes))
    axes.legend(handles=lines, loc="upper center", bbox_to_anchor=(0.5, -0.1), frameon=False, fontsize=9)


def _legible(name: str) -> str:
    """Shorten a long name in the middle, and escape dollar signs, between which matplotlib reads formulas."""
    if len(name) > _LONGEST_NAME:
        half = _LONGEST_NAME // 2
        name = f"{name[:half]}…{name[-half:]}"
    return name.replace("$", r"\$")
