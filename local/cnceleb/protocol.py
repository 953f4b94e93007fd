"""Reads the evaluation protocol of CN-Celeb1: enrolments, test recordings and trials."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from vouch.base.errors import VouchError
from vouch.corpora.tree import Recording
from vouch.kaldi.lists.trials import LABELS, Trials
from vouch.kaldi.tables import read_lines

SUFFIXES = (".flac", ".wav")


def find_recordings(root: Path, folder: str) -> dict[str, Recording]:
    """Find the recordings of one folder of `eval` by their names without suffix, `<speaker>-<rest>`."""
    found = {}
    for path in sorted((root / "eval" / folder).iterdir()):
        if path.suffix in SUFFIXES:
            speaker = path.stem.partition("-")[0]
            found[path.stem] = Recording(f"eval/{folder}/{path.name}", speaker, speaker, "", path.stem)
    if not found:
        raise VouchError(f"{root}/eval/{folder}: no recordings in it")
    return found


def find_enrolments(root: Path) -> dict[str, list[Recording]]:
    """Read `eval/lists/enroll.map`: enrolment to its utterances.

    The utterances are below `data`; their ids are `<speaker>-enroll-<name>`, to differ from those of the test.
    """
    path = root / "eval" / "lists" / "enroll.map"
    enrolments: dict[str, list[Recording]] = {}
    for number, line in enumerate(read_lines(path), start=1):
        name, *files = line.split()
        enrolment = name if name.endswith("-enroll") else f"{name}-enroll"
        speaker = enrolment.removesuffix("-enroll")
        if not files or enrolment in enrolments:
            raise VouchError(f"{path}:{number}: '{name}' {'is there twice' if files else 'has no utterances'}")
        enrolments[enrolment] = [_find_utterance(root, speaker, file, f"{path}:{number}") for file in files]
    return enrolments


def _find_utterance(root: Path, speaker: str, file: str, where: str) -> Recording:
    stem = file.removeprefix("data/").rpartition(".")[0]
    for suffix in SUFFIXES:
        path = f"data/{stem}{suffix}"
        if (root / path).is_file() and ".." not in stem.split("/"):
            name = stem.removeprefix(f"{speaker}/").replace("/", "-")
            return Recording(path, speaker, speaker, "", f"{speaker}-enroll-{name}")
    raise VouchError(f"{where}: there is no '{file}' below {root}/data")


def read_trials(root: Path, enrolments: Collection[str], tests: Mapping[str, Recording]) -> Trials:
    """Read `eval/lists/trials.lst`: `<enrolment> test/<name>.wav 1|0` lines.

    Parameters
    ----------
    root : Path
        Folder of CN-Celeb1.
    enrolments : collection of str
        Known enrolments.
    tests : mapping of str to Recording
        Test recordings by their names without suffix.

    Raises
    ------
    VouchError
        A line has another form or names something unknown; the message names file and line.
    """
    path = root / "eval" / "lists" / "trials.lst"
    labels = {"1": True, "0": False, **LABELS}
    enrol, test, is_target = [], [], []
    for number, line in enumerate(read_lines(path), start=1):
        fields = line.split()
        if len(fields) != 3 or fields[2] not in labels:
            raise VouchError(f"{path}:{number}: '{line.strip()}' is not '<enrolment> <test file> 1|0'")
        name = fields[1].rpartition("/")[2].rpartition(".")[0] or fields[1]
        if fields[0] not in enrolments:
            raise VouchError(f"{path}:{number}: '{fields[0]}' is not an enrolment")
        if name not in tests:
            raise VouchError(f"{path}:{number}: there is no usable recording '{fields[1]}'")
        enrol.append(fields[0])
        test.append(tests[name].utterance)
        is_target.append(labels[fields[2]])
    return Trials(enrol, test, np.array(is_target))
