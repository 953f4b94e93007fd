"""Writes results as JSON files in stage 7, and reads them for tables and reports."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from vouch.base.errors import about_file
from vouch.base.fields import Fields
from vouch.base.files import read_json, write_text
from vouch.evaluation.intervals import Interval
from vouch.evaluation.metrics import OperatingPoint
from vouch.evaluation.result import UNITS, Result
from vouch.evaluation.score_source import ScoreSource, why_outdated


def write_result(path: str | Path, result: Result) -> None:
    """Write all figures as JSON, with null for an infinite threshold."""
    record = {**_record(result), "scores": result.source and result.source._asdict()}
    write_text(path, json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_result(path: str | Path) -> Result:
    """Read a file of `write_result`; `VouchError` if it is not one, or a field has the wrong type."""
    content = read_json(path)
    problem, advice = "not a result of this version of stage 7", "judge its scores again, or remove it"
    with about_file(path, problem, advice):
        fields = Fields(content)
        return replace(_result(fields), source=_source(fields))


def read_results(folder: str | Path) -> dict[str, Result]:
    """Read all results of a folder, by file name without ending, in alphabetical order.

    If the score file of a result has changed, its `outdated` and that of its groups say so.
    """
    results = {path.stem: read_result(path) for path in sorted(Path(folder).glob("*.json"))}
    return {name: _compared(result, folder) for name, result in results.items()}


def _compared(result: Result, folder: str | Path) -> Result:
    """Return the result with `outdated` set if its score file has changed or is gone."""
    outdated = None if result.source is None else why_outdated(result.source, folder)
    groups = tuple(replace(group, outdated=outdated) for group in result.groups)
    return replace(result, outdated=outdated, groups=groups)


def _record(result: Result) -> dict[str, object]:
    low, high = result.intervals["eer"]
    return {
        "system": result.system,
        "trials": result.targets + result.nontargets,
        "targets": result.targets,
        "nontargets": result.nontargets,
        "unscored": result.unscored,
        "eer": {"percent": result.eer.value, "threshold": result.eer.threshold},
        "eer_interval": {
            "low_percent": low,
            "high_percent": high,
            "level": result.level,
            "draws": result.draws,
            "resampled": result.resampled,
            "speakers": result.speakers,
        },
        "min_dcf": _dcf_records("min_dcf", result.min_dcf, result.intervals),
        "act_dcf": _dcf_records("act_dcf", result.act_dcf, result.intervals),
        "cllr": {"value": result.cllr, **result.intervals["cllr"]._asdict()},
        "min_cllr": {"value": result.min_cllr, **result.intervals["min_cllr"]._asdict()},
        "calibrated": result.calibrated,
        "other_eers_percent": result.other_eers,
        "other_min_dcfs": {
            name: {f"{prior:g}": cost for prior, cost in costs.items()} for name, costs in result.other_min_dcfs.items()
        },
        "groups": [_record(group) for group in result.groups],
        "notes": list(result.notes),
    }


def _dcf_records(
    name: str, points: Mapping[float, OperatingPoint], intervals: Mapping[str, Interval]
) -> dict[str, dict[str, float | None]]:
    return {
        f"{prior:g}": {
            "value": value,
            "threshold": threshold if math.isfinite(threshold) else None,
            **intervals[f"{name}({prior:g})"]._asdict(),
        }
        for prior, (value, threshold) in points.items()
    }


def _result(fields: Fields, is_group: bool = False) -> Result:
    interval = fields.fields("eer_interval")
    intervals = {"eer": Interval(interval.number("low_percent"), interval.number("high_percent"))}
    points = {kind: _points(fields.fields(kind), kind, intervals) for kind in ("min_dcf", "act_dcf")}
    if list(points["min_dcf"]) != list(points["act_dcf"]):
        raise ValueError("'min_dcf' and 'act_dcf' have different priors")
    for name in ("cllr", "min_cllr"):
        intervals[name] = _interval(fields.fields(name))
    resampled, level = interval.text("resampled"), interval.number("level")
    # Files of older versions have neither the number of speakers nor whether the scores are calibrated.
    is_known = "speakers" in interval.names() and not interval.is_null("speakers")
    if resampled not in UNITS or not 0 < level < 1:
        raise ValueError("'eer_interval' does not say what was resampled")
    other_eers, other_min_dcfs = fields.fields("other_eers_percent"), fields.fields("other_min_dcfs")
    # Groups have no groups of their own.
    groups = fields.values("groups")
    if groups and is_group:
        raise ValueError("a group has groups")
    return Result(
        system=_line(fields.text("system")),
        targets=fields.count("targets", 1),
        nontargets=fields.count("nontargets", 1),
        unscored=fields.count("unscored"),
        eer=OperatingPoint(fields.fields("eer").number("percent"), fields.fields("eer").number("threshold")),
        min_dcf=points["min_dcf"],
        act_dcf=points["act_dcf"],
        cllr=fields.fields("cllr").number("value"),
        min_cllr=fields.fields("min_cllr").number("value"),
        intervals=intervals,
        level=level,
        draws=interval.count("draws", 1),
        resampled=resampled,
        speakers=interval.count("speakers", 1) if is_known else None,
        other_eers={_line(name): other_eers.number(name) for name in other_eers.names()},
        other_min_dcfs={_line(name): _costs(other_min_dcfs.fields(name)) for name in other_min_dcfs.names()},
        calibrated="calibrated" in fields.names() and fields.truth("calibrated"),
        groups=tuple(_result(Fields(group), is_group=True) for group in groups),
        notes=tuple(_line(note) for note in fields.texts("notes")),
    )


def _source(fields: Fields) -> ScoreSource | None:
    # Files of older versions do not name their score file.
    if "scores" not in fields.names() or fields.is_null("scores"):
        return None
    source = fields.fields("scores")
    return ScoreSource(_line(source.text("path")), _line(source.text("sha256")))


def _points(fields: Fields, kind: str, intervals: dict[str, Interval]) -> dict[float, OperatingPoint]:
    """Return the detection costs by target prior; add their intervals to `intervals`."""
    points = {}
    for prior in fields.names():
        dcf = fields.fields(prior)
        threshold = math.inf if dcf.is_null("threshold") else dcf.number("threshold")
        points[_prior(prior)] = OperatingPoint(dcf.number("value"), threshold)
        intervals[f"{kind}({prior})"] = _interval(dcf)
    return points


def _interval(fields: Fields) -> Interval:
    return Interval(fields.number("low"), fields.number("high"))


def _costs(fields: Fields) -> dict[float, float]:
    return {_prior(prior): fields.number(prior) for prior in fields.names()}


def _prior(text: str) -> float:
    """Parse a target prior, which is written in six digits."""
    if not 0 < float(text) < 1 or text != f"{float(text):g}":
        raise ValueError("a target prior is no number between 0 and 1")
    return float(text)


def _line(text: str) -> str:
    """Return a text of the file after checking that it is one line, as cells of a table must be."""
    if text.splitlines() != [text]:
        raise ValueError("a name or note is not one line")
    return text
