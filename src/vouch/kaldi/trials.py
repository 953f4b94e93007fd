"""Verification trials: `enrol-id test-id target|nontarget`."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from vouch.errors import VouchError
from vouch.files import write_text
from vouch.kaldi.tables import read_lines

LABELS = {"target": True, "nontarget": False}


class Trials(NamedTuple):
    """A trial list, in the order of its file.

    Attributes
    ----------
    enrol, test : (trials,) list of str
    is_target : (trials,) bool ndarray
    """

    enrol: list[str]
    test: list[str]
    is_target: np.ndarray


def read_trials(path: str | Path) -> Trials:
    """Read a Kaldi trial list; `VouchError` names file and line of a malformed one."""
    enrol: list[str] = []
    test: list[str] = []
    is_target: list[bool] = []
    for number, line in enumerate(read_lines(path), start=1):
        try:
            enrol_id, test_id, label = line.split()
            is_target.append(LABELS[label])
        except (ValueError, KeyError):
            raise VouchError(
                f"{path}:{number}: '{line.strip()}' is not '<enrol-id> <test-id> target|nontarget'"
            ) from None
        enrol.append(enrol_id)
        test.append(test_id)
    return Trials(enrol, test, np.array(is_target))


def write_trials(path: str | Path, trials: Trials) -> None:
    """Write a Kaldi trial list, whole or not at all."""
    rows = zip(trials.enrol, trials.test, trials.is_target, strict=True)
    write_text(path, "".join(f"{enrol} {test} {'target' if t else 'nontarget'}\n" for enrol, test, t in rows))
