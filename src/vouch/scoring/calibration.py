"""Calibrates scores to log-likelihood ratios by a weighted sum, fitted by logistic regression on development trials.

One score file gives linear calibration (Brümmer and du Preez, "Application-independent evaluation of speaker
detection", 2006), several give a fusion. Quality measures of the two sides, such as durations, correct their effect on
do to scores (Thienpondt et al., "The IDLab VoxCeleb speaker recognition challenge 2020 system description").
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from vouch.base.errors import VouchError, about_file
from vouch.base.fields import Fields, check_list, check_number
from vouch.base.files import read_json, write_text

FORMAT = "vouch-calibration-1"
# Factor of the ridge penalty on the weights, where the rarer kind of trial weighs 0.5. It keeps the weights finite if
# the scores separate the trials perfectly.
_RIDGE = 1e-6
# False-alarm rates whose thresholds are stored: 5, 2 and 1 times each power of ten, from 0.5 down.
_RATES = [float(f"{digit}e-{power}") for power in range(1, 7) for digit in (5, 2, 1)]
# A rate is stored if at least so many development non-targets score above its threshold.
_LEAST_ABOVE = 10


class Calibration(NamedTuple):
    """A fitted map from scores and quality measures to log-likelihood ratios.

    Attributes
    ----------
    systems : int
        Number of score files.
    measures : tuple of str
        Names of the quality measures.
    weights : (systems + 2 measures,) float64 ndarray
        Weights of the scores, then for each measure those of the smaller and of the larger value of the two sides.
    offset : float
        Added to the weighted sum.
    prior : float
        Target prior for which the fit was weighted.
    false_alarms : ndarray
        (points, 2) float64 ndarray: false-alarm rates, descending, and for each the lowest threshold at which the
        development non-targets do not exceed it.
    settings : mapping of str to int or None
        Settings of the measures by name, such as top-n; None is the default, and a missing setting is unknown.
    """

    systems: int
    measures: tuple[str, ...]
    weights: np.ndarray
    offset: float
    prior: float
    false_alarms: np.ndarray
    settings: Mapping[str, int | None] = MappingProxyType({})

    def apply(self, scores: np.ndarray, measures: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return log-likelihood ratios.

        Parameters
        ----------
        scores : (trials, systems) float array
        measures : mapping of str to ndarray
            (trials, 2) float array for each measure, with the two sides in any order.

        Returns
        -------
        (trials,) float64 ndarray
            Log-likelihood ratios (natural logarithm).

        Raises
        ------
        VouchError
            There are more or fewer score files or measures than the calibration was fitted with.
        """
        if scores.shape[1] != self.systems:
            raise VouchError(f"the calibration is for {self.systems} score files, not {scores.shape[1]}")
        missing, unused = set(self.measures) - set(measures), set(measures) - set(self.measures)
        if missing or unused:
            name, problem = (sorted(missing)[0], "needs") if missing else (sorted(unused)[0], "does not know")
            raise VouchError(f"the calibration {problem} the quality measure '{name}'")
        return _inputs(scores, {name: measures[name] for name in self.measures}) @ self.weights + self.offset

    def check_settings(self, settings: Mapping[str, int | None]) -> None:
        """Raise `VouchError`, with both values, if a setting of the measures differs from that of the fit."""
        for name, value in settings.items():
            fitted = self.settings.get(name, value)
            if fitted != value:
                then, now = ("the default" if each is None else each for each in (fitted, value))
                raise VouchError(f"the calibration was fitted with {name} {then}, not {now}; use the same")

    def threshold(self, false_alarm: float) -> float:
        """Return the lowest threshold at which the development non-targets do not exceed a false-alarm rate.

        Between stored rates, it is the threshold of the next lower rate.

        Raises
        ------
        VouchError
            There were too few development trials, or the rate is above 0.5.
        """
        rates, ratios = self.false_alarms.T
        if not len(rates) or not rates[-1] <= false_alarm <= rates[0]:
            known = f"rates from {rates[-1]:g} to {rates[0]:g}" if len(rates) else "no rate"
            raise VouchError(f"false alarms of {false_alarm:g}: the development trials can tell {known}")
        return float(ratios[np.argmax(rates <= false_alarm)])


def prior_threshold(prior: float) -> float:
    """Return the log-likelihood ratio from which on accepting is cheaper when `prior` is the target prior.

    Both errors have the same cost; `VouchError` unless 0 < prior < 1.
    """
    if not 0 < prior < 1:
        raise VouchError(f"the prior is {prior:g}, but must be between 0 and 1")
    # A plain minus sign would return -0 for 0.5.
    return 0.0 - float(logit(prior))


def fit_calibration(
    scores: np.ndarray, measures: Mapping[str, np.ndarray], is_target: np.ndarray, prior: float = 0.5
) -> Calibration:
    """Fit weights and offset that minimise the prior-weighted Cllr.

    Parameters
    ----------
    scores : (trials, systems) float array
    measures : mapping of str to ndarray
        (trials, 2) float array for each quality measure, with the two sides in any order.
    is_target : (trials,) bool array
    prior : float
        Target prior for which to optimise.

    Raises
    ------
    VouchError
        There are no targets or no non-targets, the prior is out of range, the fit does not converge, or the scores of
        the only system are lower for targets.
    """
    targets = int(np.count_nonzero(is_target))
    if not 0 < targets < len(is_target):
        raise VouchError(f"calibration needs target and non-target trials; of these {len(is_target)}, {targets} are")
    shift = -prior_threshold(prior)
    inputs = _inputs(scores, measures)
    centre, spread = inputs.mean(axis=0), inputs.std(axis=0)
    # A constant column carries no information; its weight stays 0.
    spread[spread <= 1e-12 * np.abs(centre)] = np.inf
    scaled = (inputs - centre) / spread
    importance = np.where(is_target, prior / targets, (1 - prior) / (len(is_target) - targets))
    # An extreme prior scales the cost down to the prior of the rarer kind; the ridge penalty must not outweigh it.
    importance *= 0.5 / min(prior, 1 - prior)
    sign = np.where(is_target, -1.0, 1.0)

    def cost(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weights, offset = parameters[:-1], parameters[-1]
        error = sign * (scaled @ weights + offset + shift)
        slope = importance * sign * expit(error)
        value = importance @ np.logaddexp(0, error) + _RIDGE / 2 * weights @ weights
        return value, np.append(scaled.T @ slope + _RIDGE * weights, slope.sum())

    start = np.zeros(scaled.shape[1] + 1)
    fit = minimize(cost, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-14, "gtol": 1e-9})
    if not np.isfinite(fit.x).all() or fit.status == 1:
        raise VouchError("the calibration does not converge; look for extreme scores in the development trials")
    weights = fit.x[:-1] / spread
    if scores.shape[1] == 1 and weights[0] <= 0:
        raise VouchError("the scores are not larger for targets than for non-targets: nothing to calibrate")
    offset = float(fit.x[-1] - weights @ centre)
    table = _false_alarms((inputs @ weights + offset)[~np.asarray(is_target, bool)])
    return Calibration(scores.shape[1], tuple(measures), weights, offset, prior, table)


def _inputs(scores: np.ndarray, measures: Mapping[str, np.ndarray]) -> np.ndarray:
    """Concatenate the columns; each measure is sorted within a trial, since scores do not depend on the side."""
    return np.concatenate([scores, *(np.sort(sides, axis=1) for sides in measures.values())], axis=1)


def _false_alarms(ratios: np.ndarray) -> np.ndarray:
    """Return the table of `Calibration.false_alarms`; tied ratios lie on the same side of a threshold."""
    rates = [rate for rate in _RATES if rate * len(ratios) >= _LEAST_ABOVE]
    if not rates:
        return np.empty((0, 2))
    values, counts = np.unique(ratios, return_counts=True)
    # No ratio lies above the largest one, so a threshold just above it meets any rate.
    thresholds = np.append(values, np.nextafter(values[-1], np.inf))
    shares = np.append(np.cumsum(counts[::-1])[::-1], 0) / len(ratios)
    return np.array([(rate, thresholds[np.argmax(shares <= rate)]) for rate in rates])


def write_calibration(path: str | Path, calibration: Calibration) -> None:
    """Write a calibration as JSON, whole or not at all."""
    content = calibration._asdict()
    content["settings"] = dict(calibration.settings)
    content["weights"], content["false_alarms"] = calibration.weights.tolist(), calibration.false_alarms.tolist()
    write_text(path, json.dumps({"format": FORMAT, **content}, indent=1) + "\n")


def read_calibration(path: str | Path) -> Calibration:
    """Read a file of `write_calibration`; `VouchError` if it is missing, damaged or of another kind."""
    content = read_json(path)
    with about_file(path, "not a calibration file of steps/calibrate.py, or damaged"):
        return _calibration(Fields(content))


def _calibration(fields: Fields) -> Calibration:
    if fields.text("format") != FORMAT or not set(fields.names()) <= {"format", *Calibration._fields}:
        raise ValueError("another format")
    measures = tuple(fields.texts("measures"))
    systems = fields.count("systems", 1)
    weights = np.array(fields.numbers("weights"), np.float64)
    if len(weights) != systems + 2 * len(measures):
        raise ValueError(f"{len(weights)} weights")
    points = [[check_number(value) for value in check_list(row)] for row in fields.values("false_alarms")]
    if any(len(point) != 2 for point in points):
        raise ValueError("'false_alarms' are no pairs")
    # Files of older versions have no settings.
    settings = fields.fields("settings") if "settings" in fields.names() else Fields({})
    return Calibration(
        systems,
        measures,
        weights,
        fields.number("offset"),
        fields.number("prior"),
        np.array(points, np.float64).reshape(-1, 2),
        {name: None if settings.is_null(name) else settings.count(name) for name in settings.names()},
    )
