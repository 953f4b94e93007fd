"""The embeddings behind the two sides of trials: test utterances, and enrolments of one or several utterances."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vouch.errors import VouchError
from vouch.kaldi.ark import read_vectors
from vouch.kaldi.tables import read_table
from vouch.scoring.cosine import mean_directions, normalize_length


class Sides(NamedTuple):
    """Embeddings of length 1, and where the ids of each side of a trial are found among them.

    Attributes
    ----------
    unit : (n, dim) float32 ndarray
    names : (n,) list of str
    enrol, test : mapping from id to row of `unit`
    """

    unit: np.ndarray
    names: list[str]
    enrol: Mapping[str, int]
    test: Mapping[str, int]


def load_sides(embedding_scp: str | Path, enrol_map: str | Path | None = None) -> Sides:
    """Read embeddings and scale them to length 1.

    Parameters
    ----------
    embedding_scp : table of `utterance file.ark:offset`
    enrol_map : table of `enrol-id utterance ...`
        The mean of the length-normalised embeddings of the utterances stands for the enrolment. Without it,
        enrolment ids are utterance ids.

    Raises
    ------
    VouchError : an embedding or a table cannot be read or used; an utterance of the map has no embedding
    """
    names, embeddings = read_vectors(embedding_scp)
    unit = normalize_length(embeddings, names)
    rows = {name: row for row, name in enumerate(names)}
    if enrol_map is None:
        return Sides(unit, names, rows, rows)
    enrolments = {name: utterances.split() for name, utterances in read_table(enrol_map).items()}
    for number, (name, utterances) in enumerate(enrolments.items(), start=1):
        for utterance in utterances:
            if utterance not in rows:
                raise VouchError(f"{enrol_map}:{number}: '{utterance}' of '{name}' is not in {embedding_scp}")
    models = mean_directions(unit, [[rows[u] for u in us] for us in enrolments.values()], list(enrolments))
    enrol = {name: len(names) + row for row, name in enumerate(enrolments)}
    return Sides(np.concatenate([unit, models]), [*names, *enrolments], enrol, rows)


def load_cohort(embedding_scp: str | Path, utt2spk: str | Path | None = None) -> np.ndarray:
    """Read the embeddings of a cohort.

    Parameters
    ----------
    embedding_scp : table of `utterance file.ark:offset`
    utt2spk : table of `utterance speaker`
        With it each speaker is one cohort member, the mean of the length-normalised embeddings of its utterances;
        without it each utterance is one. Utterances of the table that have no embedding are passed over, so that a
        cohort can be a part of a set.

    Returns
    -------
    (members, dim) float32 ndarray of length 1 each
    """
    names, embeddings = read_vectors(embedding_scp)
    unit = normalize_length(embeddings, names)
    if utt2spk is None:
        return unit
    speakers = read_table(utt2spk)
    groups: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        if name not in speakers:
            raise VouchError(f"{embedding_scp}:{row + 1}: '{name}' has no speaker in {utt2spk}")
        groups.setdefault(speakers[name], []).append(row)
    return mean_directions(unit, list(groups.values()), list(groups))


def rows_of(ids: Sequence[str], rows: Mapping[str, int]) -> np.ndarray:
    """Return the row of each id, -1 for ids that have none, as (ids,) int ndarray."""
    return np.fromiter(map(rows.get, ids, itertools.repeat(-1)), np.intp, len(ids))


def check_rows(index: np.ndarray, ids: Sequence[str], listed_in: str | Path, known_in: str | Path) -> None:
    """Raise `VouchError`, naming file and line, if `rows_of` found no row for some id."""
    unknown = np.flatnonzero(index < 0)
    if len(unknown):
        row = unknown[0]
        raise VouchError(f"{listed_in}:{row + 1}: '{ids[row]}' is not in {known_in} ({len(unknown)} such)")
