"""Divides speakers into training, validation and test sets, and reads lists of speakers and trials."""

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

SHARE = 0.1  # of the speakers for test, and of the others for validation
LEAST = 2  # speakers per set, since one speaker has no non-target trial


def choose_speakers(
    root: Path, recordings: Sequence[Recording], test: set[str] | None, valid_speakers: int | None
) -> dict[str, set[str]]:
    """Divide the speakers into train, valid and test.

    Parameters
    ----------
    root : Path
        Folder of the corpus, for the message.
    recordings : sequence of Recording
        All usable recordings.
    test : set of str or None
        Test speakers; None to hold out a share of the speakers.
    valid_speakers : int or None
        Number of validation speakers; None for a share of those that are not test speakers.

    Raises
    ------
    VouchError
        There are too few speakers, or too few speakers with two utterances.
    """
    counts = Counter(recording.speaker for recording in recordings)
    rest = counts.keys() - (test or set())
    # Target trials need speakers with two utterances.
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
    """Read a list of speakers (folder names or ids, one per line), and return the ids."""
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
    """Return the trial lists by their names in the data directory: "trials" for one list, else "trials_<stem>"."""
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
    """Raise an error for trials of speakers that are in the training or validation set.

    Returns
    -------
    int
        Number of trials whose label contradicts the speakers' folders.
    """
    disagreeing = 0
    for number, (enrol, test, is_target) in enumerate(zip(*trials, strict=True), start=1):
        for utterance in (enrol, test):
            if utt2spk[utterance] not in test_speakers:
                raise VouchError(f"{path}:{number}: '{utterance}' is not of a test speaker; see --test-speakers")
        disagreeing += (utt2spk[enrol] == utt2spk[test]) != is_target
    return int(disagreeing)
