"""Checks that a cohort has no utterances or speakers of the trials (numpy only)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from vouch.base.errors import VouchError, shorten
from vouch.kaldi.tables import read_table


class CohortFiles(NamedTuple):
    """Files of a cohort: its embeddings and, if known, its speakers."""

    embedding_scp: str | Path
    utt2spk: str | Path | None = None


def check_cohort(
    cohort: CohortFiles,
    ids: Iterable[str],
    listed_in: str | Path,
    enrol_map: str | Path | None = None,
    utt2spk: str | Path | None = None,
) -> None:
    """Raise an error if a cohort contains an utterance or a speaker of the trials.

    The score of an utterance with itself, or with another one of its speaker, is not an impostor score: it changes the
    mean and standard deviation that normalise the trials, and thus the error rates.

    Parameters
    ----------
    cohort : CohortFiles
        Files of the cohort.
    ids : iterable of str
        Ids of the enrolment and test sides of the trials.
    listed_in : str or Path
        File of the ids, for messages.
    enrol_map : str or Path, optional
        Table of `enrol-id utterance ...`; without it enrolment ids are utterance ids.
    utt2spk : str or Path, optional
        Speakers of the trials' utterances; without it, only those that `cohort.utt2spk` lists are known.

    Raises
    ------
    VouchError
        There is such an utterance or speaker; the message names it.
    """
    members = read_table(cohort.embedding_scp)
    used = _utterances(ids, read_table(enrol_map) if enrol_map else {})
    shared = [utterance for utterance in used if utterance in members]
    if shared:
        raise VouchError(
            f"{cohort.embedding_scp}: '{shorten(shared[0])}' is in the cohort and in the trials of {listed_in}"
            f" ({len(shared)} such); a cohort must hold other speakers, such as those of the training set"
        )
    if cohort.utt2spk is None:
        return
    of_cohort = read_table(cohort.utt2spk)
    of_trials = {**of_cohort, **(read_table(utt2spk) if utt2spk else {})}
    speakers = {of_cohort[utterance] for utterance in members if utterance in of_cohort}
    # An enrolment id may be the id of a speaker.
    whose = {of_trials.get(utterance, utterance): utterance for utterance in reversed(used)}
    known = [speaker for speaker in reversed(whose) if speaker in speakers]
    if known:
        raise VouchError(
            f"{cohort.utt2spk}: '{shorten(known[0])}', whose '{shorten(whose[known[0]])}' is in the trials of"
            f" {listed_in}, is a speaker of the cohort too ({len(known)} such); a cohort must hold other speakers"
        )


def _utterances(ids: Iterable[str], enrolments: Mapping[str, str]) -> list[str]:
    """Return the utterances of the given ids, without repetition, in their order."""
    used: dict[str, None] = {}
    for name in dict.fromkeys(ids):
        used.update(dict.fromkeys(enrolments[name].split() if name in enrolments else [name]))
    return list(used)
