"""Formats the provenance of a model as a section of an HTML report: date, command, software, data, curves."""

from __future__ import annotations

import base64
import html
import shlex
from collections.abc import Mapping
from pathlib import Path

from vouch.base.errors import VouchError
from vouch.base.files import read_json
from vouch.evaluation.training_plot import training_png


def provenance_section(path: str | Path) -> str:
    """Return the section as HTML.

    Parameters
    ----------
    path : str or Path
        provenance.json of an experiment, see `vouch.training.provenance`.

    Raises
    ------
    VouchError
        The file is missing or is not such a record.
    """
    record = read_json(path)
    try:
        if not isinstance(record, Mapping):
            raise TypeError("no table")
        rows = "".join(f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>\n" for name, value in _rows(record))
        picture = training_png(record.get("history", []), record["epoch"])
    except (AttributeError, KeyError, TypeError, ValueError):
        raise VouchError(f"{path}: not the record of a training by this version of Vouch; remove it") from None
    curve = image("Training curve", picture) if picture else ""
    return f"<h2>What made the model</h2>\n<table>\n{rows}</table>\n{curve}"


def image(name: str, png: bytes) -> str:
    """Return an HTML element that embeds a PNG picture."""
    return f'<img alt="{html.escape(name)}" src="data:image/png;base64,{base64.b64encode(png).decode("ascii")}">\n'


def _rows(record: Mapping) -> list[tuple[str, str]]:
    """Return the rows of the table, name and value, as plain text."""
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
