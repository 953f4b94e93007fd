"""Splits a trial list by speakers, durations and conditions, and computes the figures of each part."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vouch.base.errors import VouchError, pick, shorten
from vouch.base.numbers import plain_float
from vouch.evaluation.definitions import EQUAL_ERROR_RATES
from vouch.evaluation.result import Result, Settings, evaluate
from vouch.kaldi.lists.scores import Scores
from vouch.kaldi.lists.trials import Trials
from vouch.kaldi.tables import read_lines, read_table

# Functions that combine the durations of both sides of a trial to the one that decides.
SIDES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "shorter": np.minimum,
    "longer": np.maximum,
    "enrol": lambda enrol, _: enrol,
    "test": lambda _, test: test,
}


def scored_trials(trials: Trials, scores: Scores) -> Trials:
    """Return the trials that have a score, in the order of their list."""
    scored = set(zip(scores.enrol, scores.test, strict=True))
    keep = [pair in scored for pair in zip(trials.enrol, trials.test, strict=True)]
    enrol, test = (list(itertools.compress(side, keep)) for side in (trials.enrol, trials.test))
    return Trials(enrol, test, trials.is_target[keep])


class Unfitting(VouchError):
    """A table of speakers lacks the speaker of a trial, or contradicts its label."""


def speakers_of(
    trials: Trials, utt2spk: str | Path, enrol_map: str | Path | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the speakers of both sides of each trial.

    Parameters
    ----------
    trials : Trials
        Trial list.
    utt2spk : str or Path
        Table of the utterances' speakers; an enrolment id that is a speaker in it stands for that speaker.
    enrol_map : str or Path, optional
        Table of `enrol-id utterance ...`, for other enrolment ids.

    Returns
    -------
    enrol, test : (trials,) int array
        Speaker numbers.

    Raises
    ------
    Unfitting
        The speaker of an id is unknown, an enrolment has several speakers, or the label of a trial contradicts the
        table; the message names the first case.
    VouchError
        A table cannot be read.
    """
    table = read_table(utt2spk)
    numbers = {speaker: number for number, speaker in enumerate(sorted(set(table.values())))}
    of_utterance = {utterance: numbers[speaker] for utterance, speaker in table.items()}
    of_test = {**numbers, **of_utterance}
    of_enrolment = dict(of_test)
    for name, words in (read_table(enrol_map) if enrol_map else {}).items():
        utterances = words.split()
        unknown = [utterance for utterance in utterances if utterance not in of_utterance]
        if unknown:
            raise Unfitting(f"{enrol_map}: '{min(unknown)}' of '{name}' is not in {utt2spk}")
        found = {of_utterance[utterance] for utterance in utterances}
        if len(found) > 1:
            raise Unfitting(f"{enrol_map}: the utterances of '{name}' are of {len(found)} speakers in {utt2spk}")
        of_enrolment[name] = found.pop()
    sides = []
    for names, known in ((trials.enrol, of_enrolment), (trials.test, of_test)):
        rows = np.fromiter(map(known.get, names, itertools.repeat(-1)), np.int32, len(names))
        if (rows < 0).any():
            name = shorten(names[int(np.argmin(rows))])
            raise Unfitting(f"'{name}' of the trial list is neither an utterance nor a speaker of {utt2spk}")
        sides.append(rows)
    enrol, test = sides
    contradicted = np.flatnonzero((enrol == test) != trials.is_target)
    if len(contradicted):
        row = contradicted[0]
        label, said = ("target", "two speakers") if trials.is_target[row] else ("nontarget", "one speaker")
        raise Unfitting(
            f"the trial '{trials.enrol[row]} {trials.test[row]}' is {label}, but of {said} in {utt2spk}"
            f" ({len(contradicted)} such)"
        )
    return enrol, test


def by_duration(
    trials: Trials, utt2dur: Mapping[str, str], edges: Sequence[float], side: str = "shorter"
) -> dict[str, np.ndarray]:
    """Return the trials in each range of durations.

    Parameters
    ----------
    trials : Trials
        Trial list.
    utt2dur : mapping of str to str
        Utterance to duration in seconds, as text.
    edges : sequence of float
        Durations in seconds at which new ranges begin, ascending.
    side : str
        A name in `SIDES`.

    Returns
    -------
    dict of str to ndarray
        (trials,) bool array for each name such as "2 s <= shorter < 4 s"; empty ranges are left out.

    Raises
    ------
    VouchError
        The edges are not positive, finite and ascending; an utterance has no duration.
    """
    choose = pick(SIDES, side, "side of a trial")
    # In this form the test also fails for NaN, for which every comparison is false.
    if not edges or not all(low < high for low, high in itertools.pairwise([0.0, *edges, math.inf])):
        raise VouchError(f"ranges of durations need finite, positive ascending edges, not {' '.join(map(str, edges))}")
    durations = []
    for used, names in (("test", trials.enrol), ("enrol", trials.test)):
        # The side that is not used may be a model of several utterances, which has no duration.
        wanted = names if side != used else []
        durations.append(np.array([_seconds(utt2dur, name) for name in wanted] or [0.0]))
    rows = np.searchsorted(np.asarray(edges), np.broadcast_to(choose(*durations), len(trials.is_target)), side="right")
    names = [f"{side} < {edges[0]:g} s"]
    names += [f"{low:g} s <= {side} < {high:g} s" for low, high in itertools.pairwise(edges)]
    names.append(f"{edges[-1]:g} s <= {side}")
    return {name: rows == row for row, name in enumerate(names) if (rows == row).any()}


def by_condition(trials: Trials, path: str | Path) -> dict[str, np.ndarray]:
    """Return the trials of each condition in a file of `enrol-id test-id name=value [name=value ...]` lines.

    A trial may be repeated, as in its list, with the same conditions.

    Returns
    -------
    dict of str to ndarray
        (trials,) bool array for each `name=value`, in alphabetical order.

    Raises
    ------
    VouchError
        A line is malformed or contradicts an earlier one, or a trial has no line; the message names it.
    """
    conditions: dict[tuple[str, str], list[str]] = {}
    for number, line in enumerate(read_lines(path), start=1):
        fields = line.split()
        if len(fields) < 3 or not all(all(word.partition("=")) for word in fields[2:]):
            raise VouchError(f"{path}:{number}: '{line.strip()}' is not '<enrol-id> <test-id> <name>=<value> ...'")
        pair = fields[0], fields[1]
        if set(conditions.setdefault(pair, fields[2:])) != set(fields[2:]):
            raise VouchError(f"{path}:{number}: the trial '{pair[0]} {pair[1]}' is there twice, with other conditions")
    groups: dict[str, np.ndarray] = {}
    for row, pair in enumerate(zip(trials.enrol, trials.test, strict=True)):
        if pair not in conditions:
            raise VouchError(f"{path}: there is no line for the trial '{pair[0]} {pair[1]}'")
        for word in conditions[pair]:
            groups.setdefault(word, np.zeros(len(trials.is_target), bool))[row] = True
    return dict(sorted(groups.items()))


def evaluate_groups(
    result: Result,
    scores: np.ndarray,
    is_target: np.ndarray,
    groups: Mapping[str, np.ndarray],
    settings: Settings,
    speakers: tuple[np.ndarray, np.ndarray] | None = None,
) -> Result:
    """Return `result` with the figures of each group of trials; figures that cannot be computed become a note.

    Parameters
    ----------
    scores : (trials,) float array
    is_target : (trials,) bool array
    settings : Settings
    speakers : tuple of ndarray and ndarray, optional
        As for `vouch.evaluation.result.evaluate`.
    groups : mapping of str to ndarray
        (trials,) bool arrays by name.
    """
    parts, notes = [], list(result.notes)
    for name, chosen in groups.items():
        sides = None if speakers is None else (speakers[0][chosen], speakers[1][chosen])
        targets = int(np.count_nonzero(is_target[chosen]))
        nontargets = int(np.count_nonzero(chosen)) - targets
        if targets and nontargets:
            refusals = {each: _refusal(each, scores[chosen], is_target[chosen]) for each in settings.definitions}
            notes += [f"no EER of {each} for {name}: {reason}" for each, reason in refusals.items() if reason]
            possible = replace(settings, definitions=tuple(each for each, reason in refusals.items() if not reason))
            parts.append(evaluate(f"{result.system}: {name}", scores[chosen], is_target[chosen], possible, sides))
        else:
            notes.append(f"no figures for {name}: {targets} target and {nontargets} non-target trials")
    return replace(result, groups=tuple(parts), notes=tuple(notes))


def _refusal(name: str, scores: np.ndarray, is_target: np.ndarray) -> str:
    """Return why the EER of a definition cannot be computed for these trials; "" if it can."""
    definition = pick(EQUAL_ERROR_RATES, name, "definition of the EER")
    try:
        definition(scores, is_target)
    except VouchError as error:
        return str(error)
    return ""


def _seconds(utt2dur: Mapping[str, str], name: str) -> float:
    if name not in utt2dur:
        raise VouchError(f"'{name}' has no duration in utt2dur; where only one side has, choose it with --duration-of")
    try:
        seconds = plain_float(utt2dur[name])
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise VouchError(f"the duration of '{name}' is not a number of seconds: '{utt2dur[name]}'")
    return seconds
