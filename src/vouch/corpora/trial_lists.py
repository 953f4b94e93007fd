"""Reads trial lists as corpora provide them, with file names or utterance ids."""

from __future__ import annotations

import difflib
import posixpath
import re
import unicodedata
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from vouch.base.errors import VouchError, nearest
from vouch.kaldi.lists.trials import LABELS, Trials
from vouch.kaldi.tables import read_lines


class Names:
    """Maps names in a trial list, which are paths or utterance ids, to utterances.

    Parameters
    ----------
    utterances : mapping of str to str
        File (path below the root of the corpus, with '/') to utterance id.
    roots : collection of str
        Forms of the root that paths may begin with.
    left_out : mapping of str to str
        Reason for each existing file that is not used.
    """

    def __init__(self, utterances: Mapping[str, str], roots: Collection[str], left_out: Mapping[str, str]) -> None:
        self._known = {utterance: utterance for utterance in utterances.values()}
        self._known |= {unicodedata.normalize("NFC", path): utterance for path, utterance in utterances.items()}
        self._prefixes = [posixpath.normpath(unicodedata.normalize("NFC", root)) + "/" for root in roots]
        self._speakers = {path.split("/")[0] for path in utterances}
        self._left_out = left_out

    def find(self, name: str) -> str | None:
        """Return the utterance id for a path or an id; None if it is unknown."""
        plain = posixpath.normpath(unicodedata.normalize("NFC", name))
        spellings = (plain, *(plain.removeprefix(prefix) for prefix in self._prefixes))
        return next((self._known[spelling] for spelling in spellings if spelling in self._known), None)

    def complaint(self, name: str) -> str:
        """Return the reason why `find` returns None for `name`."""
        plain = posixpath.normpath(name)
        for path, reason in self._left_out.items():
            if plain == path or plain in {prefix + path for prefix in self._prefixes}:
                return f"'{name}' was left out: {reason}"
        # Only names of the same speaker are compared, because comparing all names of a large corpus takes minutes.
        speaker = re.split("[/-]", plain, maxsplit=1)[0]
        alike = [known for known in self._known if known.startswith(speaker)]
        if alike:
            hint = nearest(plain, difflib.get_close_matches(plain, alike, n=1))
        else:
            close = difflib.get_close_matches(speaker, self._speakers, n=1)
            hint = f"; no speaker '{speaker}'{nearest(speaker, close)}"
        return f"'{name}' is neither a file below the root nor an utterance id{hint}"


def read_trial_list(path: Path, names: Names) -> Trials:
    """Read a list of `1|0 <path> <path>` (voxceleb_trainer) or `<enrol-id> <test-id> target|nontarget` (Kaldi) lines.

    Paths may contain blanks.

    Returns
    -------
    Trials
        One trial for each line, with utterance ids.

    Raises
    ------
    VouchError
        A line has neither form, or names something that is not in the corpus; the message names file and line.
    """
    enrol, test, is_target = [], [], []
    for number, line in enumerate(read_lines(path), start=1):
        label, pair = _split_label(line, f"{path}:{number}")
        first, second = _split_pair(pair, names, f"{path}:{number}")
        enrol.append(first)
        test.append(second)
        is_target.append(label)
    return Trials(enrol, test, np.array(is_target))


def _split_label(line: str, where: str) -> tuple[bool, str]:
    fields = line.split()
    if len(fields) >= 3 and fields[0] in ("0", "1"):
        return fields[0] == "1", line.split(maxsplit=1)[1].strip()
    if len(fields) >= 3 and fields[-1] in LABELS:
        return LABELS[fields[-1]], line.rsplit(maxsplit=1)[0].strip()
    raise VouchError(f"{where}: '{line.strip()}' is neither '1|0 <path> <path>' nor '<id> <id> target|nontarget'")


def _split_pair(pair: str, names: Names, where: str) -> tuple[str, str]:
    """Split at a blank such that both parts are known names."""
    splits = [(pair[: blank.start()], pair[blank.end() :]) for blank in re.finditer(r"\s+", pair)]
    found = [(names.find(first), names.find(second)) for first, second in splits]
    whole = [(first, second) for first, second in found if first is not None and second is not None]
    if len(whole) == 1:
        return whole[0]
    if len(whole) > 1:
        raise VouchError(f"{where}: '{pair}' can be read as two files in {len(whole)} ways; use utterance ids instead")
    if len(splits) > 1:
        raise VouchError(f"{where}: '{pair}' are not two files or utterances of the corpus")
    unknown = splits[0][0] if found[0][0] is None else splits[0][1]
    raise VouchError(f"{where}: {names.complaint(unknown)}")
