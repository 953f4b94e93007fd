"""Formats tables of results, with one line for each system, as text, Markdown or HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from vouch.evaluation.result import LEVEL, Result

Row = tuple[str, ...]
Record = dict[str, "str | float | bool | list[str] | None"]
ABSENT = "-"
# Characters that would end a cell or begin emphasis in Markdown.
_SIGNS = re.compile(r"[\\|*]")
# Appended to the name of a system whose score file has changed or is gone.
OUTDATED = " (of earlier scores)"
# Appended to actual costs and Cllr of scores that are not log-likelihood ratios.
UNCALIBRATED = "*"
_WHAT_IT_MARKS = (
    f"{UNCALIBRATED} actDCF and Cllr read scores as log-likelihood ratios; these scores are not calibrated, and so"
    " marked figures say nothing of the system (steps/calibrate.py makes ratios, --calibrated in stage 7 says so)"
)


def table_rows(results: Sequence[Result], every_figure: bool = False) -> list[Row]:
    """Return the heading and a row for each result.

    `OUTDATED` marks a result whose score file has changed since. Figures by the definitions of other programs are
    shown if any result has them.

    Parameters
    ----------
    results : sequence of Result
        Results on one or several trial lists; a detection cost that a result lacks is shown as `ABSENT`.
    every_figure : bool
        Whether to show the actual costs, Cllr and minimum Cllr too; `UNCALIBRATED` marks those that are meaningless.
    """
    priors = sorted({prior for result in results for prior in result.min_dcf})
    definitions = sorted({name for result in results for name in result.other_eers})
    costs = sorted({(name, p) for result in results for name, points in result.other_min_dcfs.items() for p in points})
    heading = ["system", "trials (target/nontarget)", f"EER % [{100 * LEVEL:.0f} % interval]", "interval over"]
    heading.append("threshold")
    heading += [f"minDCF({prior:g})" for prior in priors]
    if every_figure:
        heading += [*(f"actDCF({prior:g})" for prior in priors), "Cllr", "minCllr"]
    heading += [f"EER % of {name}" for name in definitions]
    heading += [f"minDCF({prior:g}) of {name}" for name, prior in costs]
    rows = [tuple(heading)]
    for result in results:
        low, high = result.intervals["eer"]
        row = [name_of(result), f"{result.targets + result.nontargets} ({result.targets}/{result.nontargets})"]
        row += [f"{result.eer.value:.2f} [{low:.2f}, {high:.2f}]", drawn(result), f"{result.eer.threshold:.4g}"]
        mark = "" if result.calibrated else UNCALIBRATED
        for points, sign in ((result.min_dcf, ""), (result.act_dcf, mark))[: 1 + every_figure]:
            row += [f"{points[prior].value:.4f}{sign}" if prior in points else ABSENT for prior in priors]
        if every_figure:
            row += [f"{result.cllr:.4f}{mark}", f"{result.min_cllr:.4f}"]
        others = result.other_eers
        row += [f"{others[name]:.2f}" if name in others else ABSENT for name in definitions]
        found = [result.other_min_dcfs.get(name, {}).get(prior) for name, prior in costs]
        row += [ABSENT if cost is None else f"{cost:.4f}" for cost in found]
        rows.append(tuple(row))
    return rows


def table_records(results: Sequence[Result]) -> list[Record]:
    """Return the same figures as numbers, one record for each result; None for figures that it lacks."""
    priors = sorted({prior for result in results for prior in result.min_dcf})
    definitions = sorted({name for result in results for name in result.other_eers})
    costs = sorted({(name, p) for result in results for name, points in result.other_min_dcfs.items() for p in points})
    records = []
    for result in results:
        record: Record = {
            "system": result.system,
            "targets": result.targets,
            "nontargets": result.nontargets,
            "unscored": result.unscored,
            "EER %": result.eer.value,
            "EER % low": result.intervals["eer"].low,
            "EER % high": result.intervals["eer"].high,
            "level": result.level,
            "interval over": result.resampled,
            "speakers": result.speakers,
            "threshold": result.eer.threshold,
        }
        for kind, points in (("minDCF", result.min_dcf), ("actDCF", result.act_dcf)):
            record |= {f"{kind}({p:g})": points[p].value if p in points else None for p in priors}
        record |= {"Cllr": result.cllr, "minCllr": result.min_cllr, "calibrated": result.calibrated}
        record |= {f"EER % of {name}": result.other_eers.get(name) for name in definitions}
        record |= {f"minDCF({p:g}) of {name}": result.other_min_dcfs.get(name, {}).get(p) for name, p in costs}
        records.append({**record, "outdated": result.outdated, "notes": list(result.notes)})
    return records


def name_of(result: Result) -> str:
    """Return the name of the system, with a mark if its score file has changed since the result was computed."""
    return result.system + (OUTDATED if result.outdated else "")


def drawn(result: Result) -> str:
    """Return the units that the bootstrap resampled for the intervals: "24 speakers" or "trials"."""
    number = f"{result.speakers} " if result.resampled == "speakers" and result.speakers else ""
    return number + result.resampled


def notes_of(results: Sequence[Result], every_figure: bool = False) -> list[str]:
    """Return the remarks on the results, one line each, beginning with the names of the systems concerned.

    `every_figure` must be that of the table above the notes.
    """
    systems: dict[str, list[str]] = {}
    for result in results:
        if result.outdated:
            note = f"of earlier scores, not computed again: {result.outdated}; judge its scores again, or remove it"
            systems.setdefault(note, []).append(result.system)
    for result in (each for whole in results for each in (whole, *whole.groups)):
        left_out = [f"{result.unscored} trials without a score were left out"] if result.unscored else []
        for note in (*left_out, *result.notes):
            systems.setdefault(note, []).append(result.system)
    notes = [f"{'; '.join(names)}: {note}" for note, names in systems.items()]
    marked = every_figure and not all(result.calibrated for result in results)
    return [*notes, _WHAT_IT_MARKS] if marked else notes


def format_table(results: Sequence[Result]) -> str:
    """Return the table of results, the table of their groups, and notes on trials that were left out."""
    groups = [group for result in results for group in result.groups]
    text = format_text(table_rows(results))
    if groups:
        text += "\n" + format_text(table_rows(groups))
    return text + "".join(f"{note}\n" for note in notes_of(results))


def format_text(rows: Sequence[Row]) -> str:
    """Return rows as lines with aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "".join(f"{line}\n" for line in lines)


def format_markdown(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table."""
    heading, *body = [[_SIGNS.sub(r"\\\g<0>", cell) for cell in row] for row in rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in (heading, ["---"] * len(heading), *body))


def format_html(rows: Sequence[Row]) -> str:
    """Return rows as an HTML table."""
    lines = []
    for number, row in enumerate(rows):
        tag = "td" if number else "th"
        lines.append(f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in row)}</tr>\n")
    return f"<table>\n{''.join(lines)}</table>\n"
