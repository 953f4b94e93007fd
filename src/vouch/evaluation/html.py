"""Writes the figures, pictures and configuration of an experiment into one self-contained HTML file."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path

from vouch.base.errors import VouchError
from vouch.base.files import write_text
from vouch.evaluation.provenance import image, provenance_section
from vouch.evaluation.result import Result
from vouch.evaluation.result_file import read_results
from vouch.evaluation.table import drawn, format_html, name_of, notes_of, table_rows

# A table of all figures at two target priors fits into a window of 1280 pixels; on a phone it scrolls sideways.
_STYLE = """
body { font-family: sans-serif; color: #333; max-width: 90em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; display: block; overflow-x: auto; font-size: 0.85em; }
th, td { border: 1px solid #ccc; padding: 0.3em 0.4em; text-align: left; }
th { background: #f3f3f3; }
td { white-space: nowrap; }
td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 9em; }
img { max-width: 48%; height: auto; vertical-align: top; }
pre { background: #f7f7f7; padding: 1em; overflow-x: auto; }
@media (max-width: 50em) { body { margin: 1em auto; } img { max-width: 100%; } }
"""
_ABOUT = (
    "A trial is accepted when its score is at least the threshold. The EER is where the linearly interpolated rates of"
    " misses and false alarms are equal, and the threshold in the table is the one there. minDCF is the lowest, actDCF"
    " the actual detection cost at the target prior in brackets, divided by that of the better of accepting and of"
    " rejecting all trials; actDCF and Cllr read scores as log-likelihood ratios and are marked where scores are not"
    " calibrated, because they mean nothing there."
)


def write_report(
    folder: str | Path, title: str, configuration: str | Path | None = None, provenance: str | Path | None = None
) -> Path:
    """Write `report.html` into a folder of results, from all of its JSON files and pictures.

    Parameters
    ----------
    folder : str or Path
        Holds `<name>.json` and, optionally, `<name>_det.png`, `<name>_hist.png` and `*_det.all.png`.
    title : str
        Heading of the report.
    configuration : str or Path, optional
        Text file to show; None: none.
    provenance : str or Path, optional
        Record of the training to show, see `vouch.evaluation.provenance`; None: none.

    Returns
    -------
    Path
        Path of the report.

    Raises
    ------
    VouchError
        The folder has no results, or a file cannot be read.
    """
    folder = Path(folder)
    results = read_results(folder)
    if not results:
        raise VouchError(f"{folder}: there are no results; run steps/compute_metrics.py")
    parts = [_summary(results)]
    # No `<name>_det.png` ends like this, whatever the name is.
    shared = sorted(folder.glob("*_det.all.png"))
    if shared:
        parts.append("<h2>All systems</h2>\n" + "".join(_picture(path) for path in shared))
    for name, result in results.items():
        parts.append(_section(folder, name, result))
    if provenance is not None:
        parts.append(provenance_section(provenance))
    if configuration is not None:
        try:
            text = Path(configuration).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise VouchError(f"{configuration}: cannot be read: {error}") from None
        parts.append(f"<h2>Configuration</h2>\n<pre>{html.escape(text)}</pre>\n")
    path = folder / "report.html"
    heading = html.escape(title)
    write_text(
        path,
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{heading}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{heading}</h1>\n{''.join(parts)}</body>\n</html>\n",
    )
    return path


def _summary(results: Mapping[str, Result]) -> str:
    systems = list(results.values())
    notes = "".join(f"<li>{html.escape(note)}</li>\n" for note in notes_of(systems, every_figure=True))
    samples = sorted({f"{result.draws} bootstrap samples of {drawn(result)}" for result in systems})
    text = f"<p>{html.escape(_ABOUT)} Intervals: {html.escape(', '.join(samples))}.</p>\n"
    return format_html(table_rows(systems, every_figure=True)) + text + (f"<ul>\n{notes}</ul>\n" if notes else "")


def _section(folder: Path, name: str, result: Result) -> str:
    text = f"<h2>{html.escape(name_of(result))}</h2>\n"
    if result.groups:
        text += format_html(table_rows(result.groups, every_figure=True))
    pictures = [folder / f"{name}_{kind}.png" for kind in ("det", "hist")]
    return text + "".join(_picture(path) for path in pictures if path.exists())


def _picture(path: Path) -> str:
    return image(path.stem, path.read_bytes())
