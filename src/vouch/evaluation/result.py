"""The figures of a system on a trial list."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vouch.base.errors import VouchError, nearest, pick
from vouch.evaluation.definitions import EQUAL_ERROR_RATES, MIN_DCFS
from vouch.evaluation.intervals import Interval, bootstrap, by_score, over_speakers, over_trials, percentile_interval
from vouch.evaluation.metrics import Cost, OperatingPoint, act_dcf, cllr, equal_error_rate, min_cllr, min_dcf
from vouch.evaluation.score_source import ScoreSource

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
    system : str
        Its name in tables and pictures.
    targets, nontargets : int
        Number of scored trials of each kind.
    unscored : int
        Trials of the list that were left out because they have no score.
    eer : OperatingPoint
        Equal error rate in percent and its threshold.
    min_dcf, act_dcf : dict of float to OperatingPoint
        For each target prior, the minimum and the actual detection cost (both errors cost 1) and where.
    cllr, min_cllr : float
        Cost of the scores, read as natural-logarithm likelihood ratios, and the least of any calibration.
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
        How many different ones the two sides of the trials have; None: it is not known whose the utterances are.
    other_eers : dict of str to float
        Equal error rates in percent by definitions of other programs.
    other_min_dcfs : dict of str to dict of float to float
        Minimum detection costs by program and target prior, of the programs that define one.
    groups : tuple of Result
        The same for parts of the list, named in `system`.
    calibrated : bool
        Whether the scores are said to be log-likelihood ratios; otherwise `act_dcf` and `cllr` mean nothing.
    notes : tuple of str
        Sentences about what the figures do not say by themselves.
    source : ScoreSource, optional
        The score file; None: it is not known.
    outdated : str, optional
        Why these are no longer the figures of that file, found when the result is read; None: they are.
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
    """What `evaluate` computes.

    Attributes
    ----------
    draws, seed : int
        Number of bootstrap samples, and the seed that they are drawn with.
    priors : tuple of float
        Target priors of the detection costs.
    definitions : tuple of str
        Names in `vouch.evaluation.definitions.EQUAL_ERROR_RATES`.
    resample : str
        What the bootstrap draws, of `UNITS`; speakers only where they are known, or else trials.
    calibrated : bool
        Whether the scores are natural-logarithm likelihood ratios.
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
        Name.
    scores : (trials,) float array
        Larger for targets.
    is_target : (trials,) bool array
    settings : Settings, optional
        What to compute; None: the defaults.
    speakers : tuple of ndarray and ndarray, optional
        (trials,) arrays, names or numbers of the speakers of the enrolment and of the test sides; None: they are not
        known, and the bootstrap resamples trials whatever the settings say.
    unscored : int
        Trials that were left out, for the record.

    Raises
    ------
    VouchError
        See `vouch.evaluation.metrics.roc`; or a setting is impossible, the name is not one line, or a score is beyond
        `MAX_SCORE`.
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
        calibrated=settings.calibrated,
        notes=tuple(notes),
    )


def remarks(resampled: str, speakers: int | None) -> list[str]:
    """Return what a reader of intervals must know.

    Parameters
    ----------
    resampled : str
        What was drawn, of `UNITS`.
    speakers : int or None
        How many the trials have; None: nobody knows.
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
