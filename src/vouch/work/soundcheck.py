"""Checks the samples of utterances in stage 1 for silence, shortness, clipping and duplicate audio."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vouch.audio.loudness import judge_loudness, measure_loudness
from vouch.base.errors import VouchError
from vouch.jobs.results import Outcome
from vouch.kaldi.datadirs.datadir import DataDir
from vouch.kaldi.tables import read_table

# Name of the table of sample digests beside the features, in which other sets find audio that they share.
DIGESTS = "utt2digest"
_DIGEST_BYTES = 16
_DIGEST_STEP = 8


def check_samples(samples: np.ndarray, rate: int, min_seconds: float) -> tuple[dict[str, str], str]:
    """Check the samples of one utterance.

    Parameters
    ----------
    samples : (samples,) float32 in [-1, 1]
    rate : int
        Sampling rate in Hz.
    min_seconds : float
        Utterances shorter than this get a remark.

    Returns
    -------
    remarks : dict of str to str
        A sentence for each fault, see `vouch.audio.loudness.judge_loudness`.
    digest : str
        Hexadecimal digest of the samples.

    Raises
    ------
    VouchError
        The samples are silent; every network gives the same embedding for silence.
    """
    # Spectra, and a digest of every sample, would take as long as the features do.
    faults = judge_loudness(measure_loudness(samples, rate, bands=False), min_seconds)
    if "silence" in faults:
        raise VouchError(faults["silence"])
    digest = hashlib.blake2b(str(len(samples)).encode(), digest_size=_DIGEST_BYTES)
    digest.update(samples[::_DIGEST_STEP].tobytes())
    return faults, digest.hexdigest()


def find_same_audio(data: DataDir, digests: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Find utterances with the same samples as one of a neighbouring set, or as one of another speaker in this set.

    Parameters
    ----------
    data : DataDir
        The data directory; the neighbouring sets are the folders beside it that stage 1 has processed.
    digests : mapping of str to str
        Digest of the samples of each utterance of the set.

    Returns
    -------
    dict of str to dict of str to str
        For each kind of finding, a sentence for each utterance.
    """
    found: dict[str, dict[str, str]] = {}
    first: dict[str, str] = {}
    for utterance, digest in digests.items():
        other = first.setdefault(digest, utterance)
        if data.utt2spk[other] != data.utt2spk[utterance]:
            sentence = f"has the samples of '{other}' of '{data.utt2spk[other]}'"
            found.setdefault("same audio of two speakers", {})[utterance] = sentence
    for table in sorted(data.path.absolute().parent.glob(f"*/{DIGESTS}")):
        if table.parent.name == data.path.absolute().name:
            continue
        for other, digest in read_table(table).items():
            if digest in first:
                sentence = f"has the samples of '{other}' in {table.parent.name}"
                found.setdefault("same audio in two sets", {})[first[digest]] = sentence
    return found


def refuse_remarks(outcome: Outcome, where: Path) -> None:
    """Raise `VouchError` if there are remarks; the message has their number and the first utterance of each kind."""
    told = [
        f"{what}: {len(items)} utterances, the first is '{next(iter(items))}': {next(iter(items.values()))}"
        for what, items in sorted(outcome.remarks.items())
    ]
    if told:
        raise VouchError(f"{where}: {'; '.join(told)}")
