"""What made a model, as a section of an HTML report: when, how, with what software, on what data, and how it learnt."""

from __future__ import annotations

import html
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from vouch.errors import VouchError
from vouch.files import read_json

# Of the picture, in pixels; the margin holds the numbers at the axes.
_WIDTH, _HEIGHT, _MARGIN = 640, 240, 60
_LOSS, _EER = "#0072B2", "#D55E00"


def provenance_section(path: str | Path) -> str:
    """Return the section as HTML.

    Parameters
    ----------
    path : provenance.json of an experiment, see `vouch.training.provenance`

    Raises
    ------
    VouchError : the file is missing, or holds something else
    """
    record = read_json(path)
    try:
        rows = "".join(f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>\n" for name, value in _rows(record))
        curve = training_curve(record.get("history", []))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise VouchError(f"{path}: not the record of a training by this version of Vouch; remove it") from None
    return f"<h2>What made the model</h2>\n<table>\n{rows}</table>\n{curve}"


def training_curve(history: Sequence[Mapping[str, float]]) -> str:
    """Return the loss of each epoch and, where it was measured, the validation EER as a picture (SVG); "" without any.

    Parameters
    ----------
    history : of each epoch "epoch", "loss" and perhaps "eer", from 0 to 1
    """
    losses = [(float(epoch["epoch"]), float(epoch["loss"])) for epoch in history]
    eers = [(float(epoch["epoch"]), 100 * float(epoch["eer"])) for epoch in history if "eer" in epoch]
    if not losses:
        return ""
    last = max(epoch for epoch, _ in losses)
    parts = [_line(losses, last, _LOSS), _line(eers, last, _EER)]
    left, bottom = 4, _HEIGHT - _MARGIN / 2 + 16
    parts += [_label(left, y, f"{value:.3g}", _LOSS) for value, y in _ends(losses)]
    parts += [_label(_WIDTH - _MARGIN + 6, y, f"{value:.3g} %", _EER) for value, y in _ends(eers)]
    parts += [_label(_MARGIN, bottom, "1", "#333"), _label(_WIDTH - _MARGIN - 40, bottom, f"epoch {last:g}", "#333")]
    parts += [_label(_MARGIN, 14, "training loss", _LOSS), _label(_MARGIN + 120, 14, "validation EER", _EER)]
    frame = f'<rect x="{_MARGIN}" y="{_MARGIN / 2}" width="{_WIDTH - 2 * _MARGIN}" height="{_HEIGHT - _MARGIN}"'
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="100%" style="max-width: {_WIDTH}px" role="img">\n'
        f'<title>Training curve</title>\n{frame} fill="none" stroke="#ccc"/>\n' + "".join(parts) + "</svg>\n"
    )


def _rows(record: Mapping) -> list[tuple[str, str]]:
    """Return what is told and its value, as plain text."""
    rows = []
    if "date" in record:
        rows.append(("date", str(record["date"])))
    if "command" in record:
        rows.append(("command", shlex.join(map(str, record["command"]))))
    eer = record.get("validation_eer")
    rows.append(("epoch kept", f"{record['epoch']}" + ("" if eer is None else f", validation EER {100 * eer:.2f} %")))
    for part, told in record.get("data", {}).items():
        rows.append((f"{part} data", ", ".join(f"{name} {value}" for name, value in told.items())))
    if "versions" in record:
        rows.append(("versions", ", ".join(f"{name} {version}" for name, version in record["versions"].items())))
    if "git" in record:
        rows.append(("git", str(record["git"])))
    return rows


def _text(text: str) -> str:
    return html.escape(text)


def _scale(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the lowest and the highest value of points, finite and apart."""
    values = [value for _, value in points if math.isfinite(value)] or [0.0]
    low, high = min(values), max(values)
    return low, high if high > low else low + 1.0


def _height(value: float, low: float, high: float) -> float:
    return _HEIGHT - _MARGIN / 2 - (_HEIGHT - _MARGIN) * (value - low) / (high - low)


def _line(points: Sequence[tuple[float, float]], last: float, colour: str) -> str:
    low, high = _scale(points)
    step = (_WIDTH - 2 * _MARGIN) / max(last - 1, 1)
    places = [
        f"{_MARGIN + step * (epoch - 1):.1f},{_height(value, low, high):.1f}"
        for epoch, value in points
        if math.isfinite(value)
    ]
    dots = "".join(
        '<circle cx="{}" cy="{}" r="2.5" fill="{}"/>\n'.format(*place.split(","), colour) for place in places
    )
    return f'<polyline points="{" ".join(places)}" fill="none" stroke="{colour}" stroke-width="1.5"/>\n{dots}'


def _ends(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the lowest and the highest value, and where they are."""
    low, high = _scale(points)
    return [(value, _height(value, low, high) + 4) for value in (low, high)] if points else []


def _label(x: float, y: float, text: str, colour: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="12" fill="{colour}">{_text(text)}</text>\n'
