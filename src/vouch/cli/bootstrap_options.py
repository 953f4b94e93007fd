"""Options of the bootstrap, shared by stage 7 and the comparison of systems."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np

from vouch.base.errors import VouchError
from vouch.evaluation.breakdown import Unfitting, speakers_of
from vouch.evaluation.result import UNITS
from vouch.kaldi.lists.trials import Trials


def add_bootstrap_options(parser: ArgumentParser) -> None:
    """Add the options to a parser, which must have the trial list as `trials`."""
    group = parser.add_argument_group("intervals")
    group.add_argument(
        "--resample",
        choices=UNITS,
        help="unit that the bootstrap resamples (default: speakers if they are known, else trials)",
    )
    group.add_argument(
        "--utt2spk", type=Path, help="speakers of the utterances (default: utt2spk beside the trial list, if it exists)"
    )
    group.add_argument(
        "--enrol-map",
        type=Path,
        help="'enrol-id utterance ...' table, for enrolment ids that are neither speakers nor utterances"
        " (default: enrol_map beside the trial list, if it exists)",
    )
    group.add_argument("--draws", type=int, default=1000, help="bootstrap samples for the 95 %% intervals")
    group.add_argument("--seed", type=int, default=0, help="random seed of the bootstrap")


def known_speakers(options: Namespace, trials: Trials) -> tuple[tuple[np.ndarray, np.ndarray] | None, list[str]]:
    """Return the speakers of both sides of the trials, and reasons if they are unknown.

    Tables that were given explicitly must fit the trial list. Tables that merely lie beside the list need not: if they
    do not fit, the speakers are None, and the reason is returned.

    Raises
    ------
    VouchError
        A table cannot be read, a table that was given does not fit, or speakers are to be resampled and are unknown.
    """
    utt2spk, enrol_map = (
        given or (beside if beside.is_file() else None)
        for given, beside in (
            (options.utt2spk, options.trials.with_name("utt2spk")),
            (options.enrol_map, options.trials.with_name("enrol_map")),
        )
    )
    if utt2spk is None:
        reason = f"there is no utt2spk beside {options.trials} that knows the speakers; give --utt2spk"
        if options.resample == "speakers":
            raise VouchError(f"--resample speakers: {reason}")
        return None, [reason]
    try:
        return speakers_of(trials, utt2spk, enrol_map), []
    except Unfitting as error:
        if options.utt2spk or options.enrol_map or options.resample == "speakers":
            raise
        return None, [f"speakers are not known: {error}"]
