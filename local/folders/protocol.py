"""Which speakers go where, and the lists that say so."""

from __future__ import annotations

import difflib
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from vouch.base.errors import VouchError, nearest
from vouch.corpora.splits import hold_out
from vouch.corpora.tree import Recording
from vouch.kaldi.lists.trials import Trials, list_name
from vouch.kaldi.tables import read_lines

SHARE = 0.1  # of the speakers for test, and of the rest for validation
LEAST = 2  # speakers of a set: one alone has no non-target trial


def choose_speakers(
    root: Path, recordings: Sequence[Recording], test: set[str] | None, valid_speakers: int | None
) -> dict[str, set[str]]:
    """Divide the speakers into train, valid and test.

    Parameters
    ----------
    root : for the message
    recordings : all that are usable
    test : the test speakers; None to hold out a share
    valid_speakers : how many; None for a share of those that are not test speakers

    Raises
    ------
    VouchError : there are too few speakers, or too few of them have two utterances
    """
    counts = Counter(recording.speaker for recording in recordings)
    rest = counts.keys() - (test or set())
    # One utterance makes no target trial.
    able = {speaker for speaker in rest if counts[speaker] >= 2}
    valid_least = LEAST if valid_speakers is None else valid_speakers
    held = valid_least + (LEAST if test is None else 0)
    if len(able) < held or len(rest) < held + LEAST:
        raise VouchError(
            f"{root}: {len(rest)} speakers{' beside the test speakers' if test else ''}, {len(able)} of them with 2"
            f" utterances or more; at least {held + LEAST} are needed, {held} of them with 2 utterances or more:"
            f" {LEAST} to train, {valid_least} to validate{f', {LEAST} to test' if test is None else ''};"
            " add speakers, or score them with a model that exists: --test-only"
        )
    if test is None:
        test = set(hold_out(able, SHARE, LEAST))
        able -= test
    valid = set(hold_out(able, SHARE if valid_speakers is None else 0, valid_least))
    return {"train": counts.keys() - test - valid, "valid": valid, "test": test}


def read_speakers(path: Path, root: Path, recordings: Sequence[Recording]) -> set[str]:
    """Read a list of speakers, one a line, folder names or ids; return the ids."""
    known = {recording.speaker: recording.speaker for recording in recordings}
    known |= {unicodedata.normalize("NFC", recording.folder): recording.speaker for recording in recordings}
    chosen = set()
    for number, line in enumerate(read_lines(path), start=1):
        name = unicodedata.normalize("NFC", line.strip())
        if name not in known:
            hint = nearest(name, difflib.get_close_matches(name, known, n=1))
            raise VouchError(f"{path}:{number}: no speaker '{name}' with usable audio in {root}{hint}")
        chosen.add(known[name])
    return chosen


def name_lists(paths: Sequence[Path]) -> dict[str, Path]:
    """Name the trial lists in the data directory: "trials" when there is one, else "trials_<stem>"."""
    if len(paths) == 1:
        return {"trials": paths[0]}
    named: dict[str, Path] = {}
    for path in paths:
        name = list_name(path.stem)
        if name in named:
            raise VouchError(f"--trials {path}: would be '{name}', as {named[name]} is; rename one")
        named[name] = path
    return named


def check_list(path: Path, trials: Trials, utt2spk: Mapping[str, str], test_speakers: set[str]) -> int:
    """Refuse trials of speakers that are trained on.

    Returns
    -------
    Number of trials that are not "target" for two files of one speaker and "nontarget" for others.
    """
    disagreeing = 0
    for number, (enrol, test, is_target) in enumerate(zip(*trials, strict=True), start=1):
        for utterance in (enrol, test):
            if utt2spk[utterance] not in test_speakers:
                raise VouchError(f"{path}:{number}: '{utterance}' is not of a test speaker; see --test-speakers")
        disagreeing += (utt2spk[enrol] == utt2spk[test]) != is_target
    return int(disagreeing)
