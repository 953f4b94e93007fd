"""The figures of a system on a trial list, as a record, a text table and JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vouch.files import write_text
from vouch.metrics import OperatingPoint, cllr, eer_interval, equal_error_rate, min_dcf

# Target priors of the detection costs: those of NIST SRE 2010 and later, and of the VoxCeleb challenges.
PRIORS = (0.01, 0.05)
LEVEL = 0.95


@dataclass(frozen=True)
class Result:
    """Figures of one system on one trial list.

    Attributes
    ----------
    system : its name in tables and pictures
    targets, nontargets : number of scored trials of each kind
    unscored : trials of the list that were left out because they have no score
    eer : equal error rate in percent and its threshold
    eer_interval : bootstrap interval of the EER in percent, of probability `level`, from `draws` samples
    min_dcf : for each target prior, the minimum detection cost (both errors cost 1) and its threshold
    cllr : cost of the scores, read as natural-logarithm likelihood ratios, in bits
    """

    system: str
    targets: int
    nontargets: int
    unscored: int
    eer: OperatingPoint
    eer_interval: tuple[float, float]
    level: float
    draws: int
    min_dcf: dict[float, OperatingPoint]
    cllr: float


def evaluate(
    system: str, scores: np.ndarray, is_target: np.ndarray, draws: int = 1000, seed: int = 0, unscored: int = 0
) -> Result:
    """Compute all figures of a system.

    Parameters
    ----------
    system : name
    scores : (trials,) float array, larger for targets
    is_target : (trials,) bool array
    draws, seed : of the bootstrap
    unscored : trials that were left out, for the record

    Raises
    ------
    VouchError : see `vouch.metrics.roc`
    """
    rate, threshold = equal_error_rate(scores, is_target)
    low, high = eer_interval(scores, is_target, draws, LEVEL, seed)
    targets = int(np.count_nonzero(is_target))
    return Result(
        system=system,
        targets=targets,
        nontargets=len(scores) - targets,
        unscored=unscored,
        eer=OperatingPoint(100 * rate, threshold),
        eer_interval=(100 * low, 100 * high),
        level=LEVEL,
        draws=draws,
        min_dcf={prior: min_dcf(scores, is_target, prior) for prior in PRIORS},
        cllr=cllr(scores, is_target),
    )


def format_table(results: Sequence[Result]) -> str:
    """Return a table of one line per system, with a heading and aligned columns."""
    rows = [
        (
            "system",
            "trials (target/nontarget)",
            f"EER % [{100 * LEVEL:.0f} % interval]",
            *(f"minDCF({prior})" for prior in PRIORS),
        )
    ]
    for r in results:
        low, high = r.eer_interval
        rows.append(
            (
                r.system,
                f"{r.targets + r.nontargets} ({r.targets}/{r.nontargets})",
                f"{r.eer.value:.2f} [{low:.2f}, {high:.2f}]",
                *(f"{r.min_dcf[prior].value:.4f}" for prior in PRIORS),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += [f"{r.system}: {r.unscored} trials without a score were left out" for r in results if r.unscored]
    return "\n".join(lines) + "\n"


def write_result(stem: str | Path, result: Result) -> None:
    """Write `<stem>.txt`, the table, and `<stem>.json`, all figures; an infinite threshold is null there."""
    write_text(f"{stem}.json", json.dumps(_record(result), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    write_text(f"{stem}.txt", format_table([result]))


def _record(result: Result) -> dict[str, object]:
    low, high = result.eer_interval
    record = dataclasses.asdict(result)
    record |= {
        "trials": result.targets + result.nontargets,
        "eer": {"percent": result.eer.value, "threshold": result.eer.threshold},
        "eer_interval": {"low_percent": low, "high_percent": high, "level": result.level, "draws": result.draws},
        "min_dcf": {
            str(prior): {"value": value, "threshold": threshold if math.isfinite(threshold) else None}
            for prior, (value, threshold) in result.min_dcf.items()
        },
    }
    del record["level"], record["draws"]
    return record
