"""The figures of a system on a trial list, as a record and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vouch.errors import VouchError, nearest, pick
from vouch.files import write_text
from vouch.intervals import Interval, bootstrap, by_score, over_speakers, over_trials, percentile_interval
from vouch.metrics import Cost, OperatingPoint, act_dcf, cllr, equal_error_rate, min_cllr, min_dcf
from vouch.metrics_compat import EQUAL_ERROR_RATES, MIN_DCFS

# Target priors of the detection costs: those of NIST SRE 2010 and later, and of the VoxCeleb challenges.
PRIORS = (0.01, 0.05)
LEVEL = 0.95
# Differences and sums of larger scores are no longer finite.
MAX_SCORE = 1e300
# With fewer of them, other speakers give other figures, and the bootstrap cannot tell how different ones.
FEW_SPEAKERS = 20
# What can be drawn for the intervals.
UNITS = ("speakers", "trials")


@dataclass(frozen=True)
class Result:
    """Figures of one system on one trial list, or on a part of it.

    Attributes
    ----------
    system : its name in tables and pictures
    targets, nontargets : number of scored trials of each kind
    unscored : trials of the list that were left out because they have no score
    eer : equal error rate in percent and its threshold
    min_dcf, act_dcf : for each target prior, the minimum and the actual detection cost (both errors cost 1) and where
    cllr, min_cllr : cost of the scores, read as natural-logarithm likelihood ratios, and the least of any calibration
    intervals : bootstrap intervals of probability `level` by the names of `vouch.intervals.bootstrap`; EER in percent
    level, draws, resampled : of the bootstrap; what was drawn, "trials" or "speakers"
    speakers : how many different ones the two sides of the trials have; None: it is not known whose the utterances are
    other_eers : equal error rates in percent by definitions of other programs
    other_min_dcfs : minimum detection costs by program and target prior, of the programs that define one
    groups : the same for parts of the list, named in `system`
    notes : sentences about what the figures do not say by themselves
    """

    system: str
    targets: int
    nontargets: int
    unscored: int
    eer: OperatingPoint
    min_dcf: dict[float, OperatingPoint]
    act_dcf: dict[float, OperatingPoint]
    cllr: float
    min_cllr: float
    intervals: dict[str, Interval]
    level: float
    draws: int
    resampled: str
    speakers: int | None
    other_eers: dict[str, float]
    other_min_dcfs: dict[str, dict[float, float]]
    groups: tuple[Result, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """What `evaluate` computes.

    Attributes
    ----------
    draws, seed : of the bootstrap
    priors : target priors of the detection costs
    definitions : names in `vouch.metrics_compat.EQUAL_ERROR_RATES`
    resample : what the bootstrap draws, of `UNITS`; speakers only where they are known, or else trials
    """

    draws: int = 1000
    seed: int = 0
    priors: tuple[float, ...] = PRIORS
    definitions: tuple[str, ...] = ()
    resample: str = "speakers"


def evaluate(
    system: str,
    scores: np.ndarray,
    is_target: np.ndarray,
    settings: Settings | None = None,
    speakers: tuple[np.ndarray, np.ndarray] | None = None,
    unscored: int = 0,
) -> Result:
    """Compute all figures of a system.

    Parameters
    ----------
    system : name
    scores : (trials,) float array, larger for targets
    is_target : (trials,) bool array
    settings : what to compute; None: the defaults
    speakers : (trials,) arrays, names or numbers of the speakers of the enrolment and of the test sides; None: they
        are not known, and the bootstrap resamples trials whatever the settings say
    unscored : trials that were left out, for the record

    Raises
    ------
    VouchError : see `vouch.metrics.roc`; or a setting is impossible, the name is not one line, or a score is beyond
        `MAX_SCORE`
    """
    settings = settings or Settings()
    if not system.strip() or system.splitlines() != [system]:
        raise VouchError(f"the name of a system is one line, not {system!r}")
    if settings.resample not in UNITS:
        raise VouchError(f"unknown unit to resample '{settings.resample}'{nearest(settings.resample, UNITS)}")
    definitions = {name: pick(EQUAL_ERROR_RATES, name, "definition of the EER") for name in settings.definitions}
    costs = [Cost(prior) for prior in settings.priors]
    # Before the trials are sorted: these depend on the order of tied ones in the list.
    costs_by_program = {
        name: {prior: MIN_DCFS[name](scores, is_target, prior).value for prior in settings.priors}
        for name in definitions
        if name in MIN_DCFS
    }
    order = by_score(scores, is_target)
    if np.max(np.abs(scores)) > MAX_SCORE:
        raise VouchError(f"scores beyond {MAX_SCORE:g} are too large to be judged; scale them down")
    scores, is_target = np.asarray(scores, np.float64)[order], np.asarray(is_target, bool)[order]
    rate, threshold = equal_error_rate(scores, is_target)
    resampled = "trials" if speakers is None else settings.resample
    if speakers is None or resampled == "trials":
        resampling = over_trials(is_target)
    else:
        resampling = over_speakers(is_target, *(np.asarray(side)[order] for side in speakers))
    (draws,) = bootstrap([scores], is_target, resampling, costs, settings.draws, settings.seed)
    intervals = {name: percentile_interval(values, LEVEL) for name, values in draws.items()}
    intervals["eer"] = Interval(*(100 * end for end in intervals["eer"]))
    targets = int(np.count_nonzero(is_target))
    number = None if speakers is None else len(np.union1d(*speakers))
    notes = remarks(resampled, number)
    if rate > 0.5:
        notes.append("the EER is above 50 %: are these distances? Larger scores must mean the same speaker")
    return Result(
        system=system,
        targets=targets,
        nontargets=len(scores) - targets,
        unscored=unscored,
        eer=OperatingPoint(100 * rate, threshold),
        min_dcf={prior: min_dcf(scores, is_target, prior) for prior in settings.priors},
        act_dcf={prior: act_dcf(scores, is_target, prior) for prior in settings.priors},
        cllr=cllr(scores, is_target),
        min_cllr=min_cllr(scores, is_target),
        intervals=intervals,
        level=LEVEL,
        draws=settings.draws,
        resampled=resampled,
        speakers=number,
        other_eers={name: 100 * definition(scores, is_target).value for name, definition in definitions.items()},
        other_min_dcfs=costs_by_program,
        notes=tuple(notes),
    )


def remarks(resampled: str, speakers: int | None) -> list[str]:
    """Return what a reader of intervals must know.

    Parameters
    ----------
    resampled : what was drawn, of `UNITS`
    speakers : how many the trials have; None: nobody knows
    """
    found = []
    if resampled == "trials":
        found.append("the interval is over trials: too narrow, because those of one speaker are alike")
    if speakers is not None and speakers < FEW_SPEAKERS:
        found.append(
            f"only {speakers} speakers: with fewer than {FEW_SPEAKERS} this figure tells little about others, and its"
            " interval is too narrow"
        )
    return found


def write_result(path: str | Path, result: Result) -> None:
    """Write all figures as JSON; an infinite threshold is null there."""
    write_text(path, json.dumps(_record(result), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_result(path: str | Path) -> Result:
    """Read what `write_result` wrote; `VouchError` when it is something else."""
    try:
        return _result(json.loads(Path(path).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise VouchError(f"{path}: no such file") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise VouchError(
            f"{path}: not a result of this version of stage 7; judge its scores again, or remove it"
        ) from None


def read_results(folder: str | Path) -> dict[str, Result]:
    """Read all results of a folder by their file names without ending, in alphabetical order."""
    return {path.stem: read_result(path) for path in sorted(Path(folder).glob("*.json"))}


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


def _result(record: dict) -> Result:
    interval = record["eer_interval"]
    intervals = {"eer": Interval(interval["low_percent"], interval["high_percent"])}
    for kind in ("min_dcf", "act_dcf"):
        intervals |= {f"{kind}({prior})": Interval(dcf["low"], dcf["high"]) for prior, dcf in record[kind].items()}
    intervals |= {name: Interval(record[name]["low"], record[name]["high"]) for name in ("cllr", "min_cllr")}
    return Result(
        **{key: record[key] for key in ("system", "targets", "nontargets", "unscored")},
        eer=OperatingPoint(record["eer"]["percent"], record["eer"]["threshold"]),
        min_dcf=_points(record["min_dcf"]),
        act_dcf=_points(record["act_dcf"]),
        cllr=record["cllr"]["value"],
        min_cllr=record["min_cllr"]["value"],
        intervals=intervals,
        **{key: interval[key] for key in ("level", "draws", "resampled", "speakers")},
        other_eers=record["other_eers_percent"],
        other_min_dcfs={
            name: {float(prior): cost for prior, cost in costs.items()}
            for name, costs in record["other_min_dcfs"].items()
        },
        groups=tuple(_result(group) for group in record["groups"]),
        notes=tuple(record["notes"]),
    )


def _points(record: Mapping[str, Mapping[str, float | None]]) -> dict[float, OperatingPoint]:
    return {
        float(prior): OperatingPoint(dcf["value"], math.inf if dcf["threshold"] is None else dcf["threshold"])
        for prior, dcf in record.items()
    }
