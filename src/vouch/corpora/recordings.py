"""Shared steps of adapters after finding recordings: drops unusable ones, makes data sets, reports."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from vouch.audio.reading import needs_ffmpeg
from vouch.base.errors import VouchError
from vouch.base.failures import MAX_FAILED, describe_failures
from vouch.corpora.durations import read_durations
from vouch.corpora.prepared import DataSet, write_data_sets
from vouch.corpora.tree import Recording
from vouch.kaldi.lists.trials import Trials

_LOG = logging.getLogger(__name__)


def check_ffmpeg(paths: Sequence[str], root: Path) -> None:
    """Raise `VouchError` if some files need ffmpeg and it is not installed, before any work is done."""
    needed = [path for path in paths if needs_ffmpeg(path)]
    if needed and shutil.which("ffmpeg") is None:
        raise VouchError(
            f"{root}: {len(needed)} of {len(paths)} recordings need ffmpeg, which is not installed, the first is"
            f" {needed[0]}; install it (apt install ffmpeg, conda install ffmpeg), or convert or remove them"
        )


def drop_unreadable(
    root: Path, recordings: Sequence[Recording], threads: int
) -> tuple[list[Recording], dict[str, float | None], dict[str, str]]:
    """Leave out recordings that are not readable as audio, and log a warning for each.

    Parameters
    ----------
    root : Path
        Folder that the recordings' paths are relative to.
    recordings : sequence of Recording
        All recordings found.
    threads : int
        Number of files read at a time.

    Returns
    -------
    usable : list of Recording
        The readable recordings.
    durations : dict of str to float or None
        Utterance to duration in seconds; None if it is unknown.
    left_out : dict of str to str
        Reason for each recording that is left out, by its path.

    Raises
    ------
    VouchError
        ffmpeg is needed and missing, or more than 5 % of the recordings are not readable.
    """
    check_ffmpeg([recording.path for recording in recordings], root)
    full = {str(root / recording.path): recording for recording in recordings}
    found, failed = read_durations(list(full), threads)
    left_out = {full[path].path: reason for path, reason in failed.items()}
    if len(failed) > MAX_FAILED * len(full):
        raise VouchError(
            f"{root}: {len(failed)} of {len(full)} files are not usable, more than {MAX_FAILED:.0%}:"
            f" {describe_failures(left_out)}; mend or remove them"
        )
    for path, reason in left_out.items():
        _LOG.warning(f"{root / path}: left out: {reason}")
    unknown = [path for path, seconds in found.items() if seconds is None]
    if unknown:
        _LOG.warning(
            f"{len(unknown)} durations are not known, so utt2dur is not written; the first is of {unknown[0]} (which"
            " takes ffprobe)"
        )
    return [full[path] for path in found], {full[path].utterance: seconds for path, seconds in found.items()}, left_out


def make_set(
    recordings: Sequence[Recording],
    where: Mapping[str, Path],
    durations: Mapping[str, float | None],
    trials: Mapping[str, Trials],
) -> DataSet:
    """Make a data set from recordings.

    Parameters
    ----------
    recordings : sequence of Recording
        Recordings, one for each utterance.
    where : mapping of str to Path
        Utterance to file.
    durations : mapping of str to float or None
        Utterance to seconds, for all sets; if one is unknown, no set gets `utt2dur`, so that all sets are alike.
    trials : mapping of str to Trials
        As in `DataSet`.
    """
    wav_scp = {recording.utterance: str(where[recording.utterance]) for recording in recordings}
    utt2spk = {recording.utterance: recording.speaker for recording in recordings}
    known = {utterance: seconds for utterance, seconds in durations.items() if seconds is not None}
    utt2dur = {utterance: known[utterance] for utterance in utt2spk} if len(known) == len(durations) else None
    return DataSet(wav_scp, utt2spk, utt2dur, trials)


def write_sets(data: Path, sets: Mapping[str, DataSet]) -> None:
    """Write data sets with `write_data_sets`, and log a line on each."""
    write_data_sets(data, sets)
    for name, made in sets.items():
        _LOG.info(describe(data / name, made))


def describe(folder: Path, made: DataSet) -> str:
    """Return a line on the content of a set."""
    hours = f", {sum(made.utt2dur.values()) / 3600:.2f} h" if made.utt2dur else ""
    text = f"{folder}: {len(set(made.utt2spk.values()))} speakers, {len(made.utt2spk)} utterances{hours}"
    for name, trials in made.trials.items():
        targets = int(trials.is_target.sum())
        text += f"; {name}: {targets} target, {len(trials.enrol) - targets} nontarget"
    return text
