"""Reads the embeddings of both sides of trials: test utterances, and enrolments of one or several utterances."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vouch.base.errors import VouchError, pick
from vouch.kaldi.matrices.mapped import read_vectors
from vouch.kaldi.tables import read_table
from vouch.scoring.cosine import mean_directions
from vouch.scoring.preparation import Preparation

# Ways to average several utterances: the mean of their embeddings before preparation; the mean of their prepared unit
# embeddings, scaled to unit length; or the mean of their scores.
AVERAGES = ("mean", "unit-mean", "scores")
# Pairs of utterances that are scored at once when scores are averaged, which bounds the memory.
_PAIRS = 1 << 20


class Sides(NamedTuple):
    """Prepared embeddings of length 1, and the rows of the ids of each side of a trial.

    Attributes
    ----------
    unit : (n, dim) float32 ndarray
        For crop distances (n, crops, dim), possibly without length normalisation.
    names : (n,) list of str
    utterances : (n,) int64 ndarray
        Number of utterances that each embedding is the mean of.
    enrol, test : mapping of str to int
        Id to row of `unit`; if scores are averaged, `enrol` maps to an index of `members` instead.
    members : sequence of ndarray, optional
        Rows of `unit` of each enrolment if scores are averaged; otherwise None.
    """

    unit: np.ndarray
    names: list[str]
    utterances: np.ndarray
    enrol: Mapping[str, int]
    test: Mapping[str, int]
    members: Sequence[np.ndarray] | None = None


class Cohort(NamedTuple):
    """Prepared embeddings of cohort members.

    Attributes
    ----------
    unit : ndarray
        As in `Sides`.
    utterances : (members,) int64 ndarray
        Number of utterances that each embedding is the mean of.
    """

    unit: np.ndarray
    utterances: np.ndarray


def load_sides(
    embedding_scp: str | Path,
    enrol_map: str | Path | None = None,
    average: str = "unit-mean",
    prepare: Preparation | None = None,
) -> Sides:
    """Read embeddings and prepare them.

    Parameters
    ----------
    embedding_scp : str or Path
        Table of `utterance file.ark:offset`.
    enrol_map : str or Path, optional
        Table of `enrol-id utterance ...`; without it enrolment ids are utterance ids.
    average : str
        How to average an enrolment of the map, one of `AVERAGES`.
    prepare : Preparation, optional
        Preparation; None: length normalisation only.

    Raises
    ------
    VouchError
        An embedding or a table cannot be read or used, or an utterance of the map has no embedding.
    """
    pick(dict.fromkeys(AVERAGES), average, "average")
    prepare = Preparation() if prepare is None else prepare
    names, embeddings = read_vectors(embedding_scp)
    unit = prepare(embeddings, names)
    ones = np.ones(len(names), np.int64)
    rows = {name: row for row, name in enumerate(names)}
    if enrol_map is None:
        return Sides(unit, names, ones, rows, rows)
    enrolments = read_enrolments(enrol_map, rows, embedding_scp)
    members = list(enrolments.values())
    if average == "scores":
        return Sides(unit, names, ones, {name: at for at, name in enumerate(enrolments)}, rows, members)
    if average == "mean":
        models = prepare(_means(embeddings, members), list(enrolments))
    else:
        models = mean_directions(unit, members, list(enrolments))
    utterances = np.concatenate([ones, [len(each) for each in members]])
    enrol = {name: len(names) + at for at, name in enumerate(enrolments)}
    return Sides(np.concatenate([unit, models]), [*names, *enrolments], utterances, enrol, rows)


def read_enrolments(enrol_map: str | Path, rows: Mapping[str, int], embedding_scp: str | Path) -> dict[str, np.ndarray]:
    """Read an enrolment map.

    Parameters
    ----------
    enrol_map : str or Path
        Table of `enrol-id utterance ...`.
    rows : mapping of str to int
        Row of each available utterance.
    embedding_scp : str or Path
        File of the rows, for messages.

    Returns
    -------
    dict of str to ndarray
        (utterances,) int ndarray of rows, by enrolment id.

    Raises
    ------
    VouchError
        An utterance has no row, or is listed twice for one enrolment; the message names file and line.
    """
    enrolments = {}
    for number, (name, words) in enumerate(read_table(enrol_map).items(), start=1):
        utterances = words.split()
        for utterance in utterances:
            if utterance not in rows:
                raise VouchError(f"{enrol_map}:{number}: '{utterance}' of '{name}' is not in {embedding_scp}")
            if utterances.count(utterance) > 1:
                raise VouchError(f"{enrol_map}:{number}: '{utterance}' is listed twice for '{name}'")
        enrolments[name] = np.array([rows[utterance] for utterance in utterances])
    return enrolments


def score_sides(
    members: Sequence[np.ndarray] | None,
    enrol_index: np.ndarray,
    test_index: np.ndarray,
    score: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray:
    """Score trials; an enrolment of several utterances has one vector, or the mean score of its utterances.

    Parameters
    ----------
    members : sequence of ndarray or None
        See `Sides`.
    enrol_index, test_index : (trials,) int array
        From `rows_of`.
    score : callable
        Function that returns the (pairs,) scores for two (pairs,) int arrays of rows.

    Returns
    -------
    (trials,) float array
    """
    if members is None:
        return score(enrol_index, test_index)
    counts = np.array([len(rows) for rows in members])[enrol_index]
    scores = np.empty(len(enrol_index))
    # Take as many trials at a time as the number of pairs allows, at least one.
    pairs_before = np.cumsum(counts) - counts
    start = 0
    while start < len(scores):
        stop = max(start + 1, int(np.searchsorted(pairs_before, pairs_before[start] + _PAIRS)))
        block = slice(start, stop)
        pairs = np.concatenate([members[row] for row in enrol_index[block]])
        each = score(pairs, np.repeat(test_index[block], counts[block])).astype(np.float64)
        scores[block] = np.add.reduceat(each, pairs_before[block] - pairs_before[start]) / counts[block]
        start = stop
    return scores


def load_cohort(
    embedding_scp: str | Path,
    utt2spk: str | Path | None = None,
    average: str = "unit-mean",
    prepare: Preparation | None = None,
) -> Cohort:
    """Read the embeddings of a cohort.

    Parameters
    ----------
    embedding_scp : str or Path
        Table of `utterance file.ark:offset`.
    utt2spk : str or Path, optional
        Table of `utterance speaker`. With it, each speaker is one cohort member; without it, each utterance is.
        Utterances of the table without an embedding are skipped, so that a cohort can be a part of a set.
    average : str
        How to average a speaker, "mean" or "unit-mean"; see `AVERAGES`.
    prepare : Preparation, optional
        Preparation; None: length normalisation only.
    """
    pick({"mean": None, "unit-mean": None}, average, "average of a cohort")
    prepare = Preparation() if prepare is None else prepare
    names, embeddings = read_vectors(embedding_scp)
    if utt2spk is None:
        return Cohort(prepare(embeddings, names), np.ones(len(names), np.int64))
    groups = group_speakers(names, utt2spk, embedding_scp)
    utterances = np.array([len(rows) for rows in groups.values()])
    if average == "mean":
        return Cohort(prepare(_means(embeddings, list(groups.values())), list(groups)), utterances)
    return Cohort(mean_directions(prepare(embeddings, names), list(groups.values()), list(groups)), utterances)


def group_speakers(names: Sequence[str], utt2spk: str | Path, embedding_scp: str | Path) -> dict[str, list[int]]:
    """Return the rows of each speaker's utterances; `VouchError` names an utterance without a speaker."""
    speakers = read_table(utt2spk)
    groups: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        if name not in speakers:
            raise VouchError(f"{embedding_scp}:{row + 1}: '{name}' has no speaker in {utt2spk}")
        groups.setdefault(speakers[name], []).append(row)
    return groups


def _means(embeddings: np.ndarray, groups: Sequence[Sequence[int] | np.ndarray]) -> np.ndarray:
    return np.stack([embeddings[list(rows)].mean(axis=0) for rows in groups])


def rows_of(ids: Sequence[str], rows: Mapping[str, int]) -> np.ndarray:
    """Return the row of each id as (ids,) int ndarray, -1 for unknown ids."""
    return np.fromiter(map(rows.get, ids, itertools.repeat(-1)), np.intp, len(ids))


def check_rows(index: np.ndarray, ids: Sequence[str], listed_in: str | Path, known_in: str | Path) -> None:
    """Raise `VouchError`, naming file and line, if `rows_of` found no row for an id."""
    unknown = np.flatnonzero(index < 0)
    if len(unknown):
        row = unknown[0]
        raise VouchError(f"{listed_in}:{row + 1}: '{ids[row]}' is not in {known_in} ({len(unknown)} such)")
