"""Computes and holds the figures of a system on a trial list."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vouch.base.errors import VouchError, nearest, pick
from vouch.evaluation.definitions import EQUAL_ERROR_RATES, MIN_DCFS
from vouch.evaluation.intervals import Interval, bootstrap, by_score, over_speakers, over_trials, percentile_interval
from vouch.evaluation.metrics import Cost, OperatingPoint, act_dcf, cllr, equal_error_rate, min_cllr, min_dcf
from vouch.evaluation.score_source import ScoreSource

# Target priors of the detection costs, as in NIST SRE since 2010 and in the VoxCeleb challenges.
PRIORS = (0.01, 0.05)
LEVEL = 0.95
# Differences and sums of larger scores may overflow.
MAX_SCORE = 1e300
# With fewer speakers, other speakers would give other figures, and the bootstrap underestimates the difference.
FEW_SPEAKERS = 20
# Units that the bootstrap can resample.
UNITS = ("speakers", "trials")


@dataclass(frozen=True)
class Result:
    """Figures of one system on one trial list, or on a part of it.

    Attributes
    ----------
    system : str
        Name in tables and pictures.
    targets, nontargets : int
        Number of scored trials of each kind.
    unscored : int
        Trials of the list that have no score and were left out.
    eer : OperatingPoint
        Equal error rate in percent and its threshold.
    min_dcf, act_dcf : dict of float to OperatingPoint
        For each target prior, the minimum and the actual detection cost (with unit error costs) and its threshold.
    cllr, min_cllr : float
        Cllr of the scores, read as log-likelihood ratios (natural logarithm), and the minimum over all calibrations.
    intervals : dict of str to Interval
        Bootstrap intervals of probability `level` by the names of `vouch.evaluation.intervals.bootstrap`; EER in
        percent.
    level : float
        Probability of the intervals.
    draws : int
        Number of bootstrap samples.
    resampled : str
        What the bootstrap drew, "trials" or "speakers".
    speakers : int or None
        Number of speakers on both sides of the trials; None if it is unknown.
    other_eers : dict of str to float
        Equal error rates in percent by the definitions of other programs.
    other_min_dcfs : dict of str to dict of float to float
        Minimum detection costs by program and target prior, for programs with a definition of their own.
    groups : tuple of Result
        Results for parts of the list, with the name of the part as `system`.
    calibrated : bool
        Whether the user declared the scores log-likelihood ratios; otherwise `act_dcf` and `cllr` are meaningless.
    notes : tuple of str
        Sentences that a reader needs to interpret the figures.
    source : ScoreSource, optional
        The score file; None if it is unknown.
    outdated : str, optional
        Why the score file no longer gives these figures, determined when the result is read; None if it does.
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
    calibrated: bool = False
    groups: tuple[Result, ...] = ()
    notes: tuple[str, ...] = ()
    source: ScoreSource | None = None
    outdated: str | None = None


@dataclass(frozen=True)
class Settings:
    """Options of `evaluate`.

    Attributes
    ----------
    draws, seed : int
        Number of bootstrap samples, and the random seed.
    priors : tuple of float
        Target priors of the detection costs.
    definitions : tuple of str
        Names in `vouch.evaluation.definitions.EQUAL_ERROR_RATES`.
    resample : str
        Unit that the bootstrap resamples, one of `UNITS`; trials are resampled if the speakers are unknown.
    calibrated : bool
        Whether the scores are log-likelihood ratios (natural logarithm).
    """

    draws: int = 1000
    seed: int = 0
    priors: tuple[float, ...] = PRIORS
    definitions: tuple[str, ...] = ()
    resample: str = "speakers"
    calibrated: bool = False


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
    system : str
        Name of the system.
    scores : (trials,) float array
        Larger for targets.
    is_target : (trials,) bool array
    settings : Settings, optional
        What to compute; None: the defaults.
    speakers : tuple of ndarray and ndarray, optional
        (trials,) arrays, names or numbers of the speakers of the enrolment and of the test sides; None: they are
        unknown, and the bootstrap resamples trials whatever the settings say.
    unscored : int
        Number of trials that were left out, for the record.

    Raises
    ------
    VouchError
        As from `vouch.evaluation.metrics.roc`, or a setting is impossible, the name is not one line, or a score is
        beyond `MAX_SCORE`.
    """
    settings = settings or Settings()
    if not system.strip() or system.splitlines() != [system]:
        raise VouchError(f"the name of a system is one line, not {system!r}")
    if settings.resample not in UNITS:
        raise VouchError(f"unknown unit to resample '{settings.resample}'{nearest(settings.resample, UNITS)}")
    definitions = {name: pick(EQUAL_ERROR_RATES, name, "definition of the EER") for name in settings.definitions}
    costs = [Cost(prior) for prior in settings.priors]
    # This comes before sorting, because these costs depend on the order of tied trials in the list.
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
        calibrated=settings.calibrated,
        notes=tuple(notes),
    )


def remarks(resampled: str, speakers: int | None) -> list[str]:
    """Return sentences that a reader needs to interpret the intervals.

    Parameters
    ----------
    resampled : str
        Unit that was resampled, one of `UNITS`.
    speakers : int or None
        Number of speakers; None if it is unknown.
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
