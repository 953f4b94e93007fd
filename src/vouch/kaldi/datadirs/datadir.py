"""Kaldi data directories: read and validated, or written, as a whole."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vouch.base.errors import VouchError
from vouch.base.numbers import plain_float
from vouch.kaldi.tables import read_table, write_table

# Times in `segments` are rounded when they are written: this much beyond the end of a recording is forgiven.
SEGMENT_OVERSHOOT = 0.5
# No recording has so many samples; times in `segments` may be of any size.
MAX_POSITION = 2**53


class Segment(NamedTuple):
    """Where the samples of an utterance are: a recording, from `start` to `end` seconds (None: all of it)."""

    recording: str
    start: float = 0.0
    end: float | None = None


def sample_bounds(segment: Segment, sample_rate: int) -> tuple[int, int | None]:
    """Return where a segment begins and ends in the samples of its recording; None: with the recording."""
    first = _to_samples(segment.start, sample_rate)
    return first, None if segment.end is None else _to_samples(segment.end, sample_rate)


def _to_samples(seconds: float, sample_rate: int) -> int:
    return int(min(seconds * sample_rate, MAX_POSITION) + 0.5)


@dataclass(frozen=True)
class DataDir:
    """A data directory whose tables fit together; use `DataDir.load`.

    Attributes
    ----------
    path : Path
        Its folder.
    utt2spk : dict of str to str
        Utterance id to speaker id.
    wav_scp : dict of str to str
        Recording id to extended file name; empty unless "wav.scp" was needed.
    segments : dict of str to Segment
        Utterance id to `Segment`; empty unless "wav.scp" was needed.
    feats_scp : dict of str to str
        Utterance id to archive position; empty unless "feats.scp" was needed.
    """

    path: Path
    utt2spk: dict[str, str]
    wav_scp: dict[str, str]
    segments: dict[str, Segment]
    feats_scp: dict[str, str]

    @classmethod
    def load(cls, path: str | Path, need: Collection[str] = ()) -> DataDir:
        """Read and check a data directory.

        Parameters
        ----------
        path : str or Path
            The folder.
        need : collection of str
            Which of "wav.scp" (with `segments` where there is one) and "feats.scp" to read beside `utt2spk`.

        Raises
        ------
        VouchError
            A table is malformed (file and line are named), or an utterance has no speaker or no audio.
        """
        path = Path(path)
        if not path.is_dir():
            raise VouchError(f"{path}: no such data directory; stage 0 or you must make it")
        utt2spk = read_table(path / "utt2spk")
        names: dict[str, str] = {}
        for number, (utterance, speaker) in enumerate(utt2spk.items(), start=1):
            if speaker.split() != [speaker]:
                raise VouchError(f"{path}/utt2spk:{number}: '{utterance} {speaker}' has more than two fields")
            # A speaker's many utterances share one string.
            utt2spk[utterance] = names.setdefault(speaker, speaker)
        wav_scp: dict[str, str] = {}
        segments: dict[str, Segment] = {}
        feats_scp: dict[str, str] = {}
        if "wav.scp" in need:
            if not (path / "wav.scp").exists() and (path / "feats.scp").exists():
                raise VouchError(
                    f"{path}/wav.scp: no such file; the features that are there need no stage 1, go on at 3"
                )
            wav_scp = read_table(path / "wav.scp", same_keys=utt2spk)
            segments = _read_segments(path, wav_scp)
            table = path / ("segments" if (path / "segments").exists() else "wav.scp")
            _check_speakers(table, segments, utt2spk)
            for number, utterance in enumerate(utt2spk, start=1):
                if utterance not in segments:
                    raise VouchError(
                        f"{path}/utt2spk:{number}: '{utterance}' is not in {table}; remove it or add its audio"
                    )
        if "feats.scp" in need:
            if not (path / "feats.scp").exists():
                raise VouchError(f"{path}/feats.scp: no such file; run stage 1 (steps/make_fbank.py) first")
            feats_scp = read_table(path / "feats.scp", same_keys=utt2spk)
            _check_speakers(path / "feats.scp", feats_scp, utt2spk)
        return cls(path, utt2spk, wav_scp, segments, feats_scp)


def write_data_dir(
    path: str | Path,
    wav_scp: Mapping[str, str],
    utt2spk: Mapping[str, str],
    utt2dur: Mapping[str, float] | None = None,
) -> None:
    """Write `wav.scp`, `utt2spk`, `spk2utt` and, if given, `utt2dur` (seconds).

    `utt2spk`, which every reader asks for first, is taken away first and written last: a run killed half-way leaves
    no directory that a later stage would accept.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    (path / "utt2spk").unlink(missing_ok=True)
    if wav_scp:
        write_table(path / "wav.scp", wav_scp)
    if utt2dur is not None:
        write_table(path / "utt2dur", {utterance: f"{seconds:.3f}" for utterance, seconds in utt2dur.items()})
    spk2utt: dict[str, list[str]] = {}
    for utterance in sorted(utt2spk):
        spk2utt.setdefault(utt2spk[utterance], []).append(utterance)
    write_table(path / "spk2utt", {speaker: " ".join(utterances) for speaker, utterances in spk2utt.items()})
    write_table(path / "utt2spk", utt2spk)


def _read_segments(path: Path, wav_scp: Mapping[str, str]) -> dict[str, Segment]:
    if not (path / "segments").exists():
        return {recording: Segment(recording) for recording in wav_scp}
    segments: dict[str, Segment] = {}
    for number, (utterance, value) in enumerate(read_table(path / "segments").items(), start=1):
        where = f"{path}/segments:{number}"
        fields = value.split()
        try:
            recording, start, end = fields[0], plain_float(fields[1]), plain_float(fields[2])
        except (ValueError, IndexError):
            raise VouchError(f"{where}: '{utterance} {value}' is not '<utterance> <recording> <start> <end>'") from None
        if len(fields) != 3 or not start >= 0 or not (start < end < math.inf or end == -1):
            raise VouchError(f"{where}: '{utterance} {value}': needs 0 <= start < end, in seconds")
        if recording not in wav_scp:
            raise VouchError(f"{where}: recording '{recording}' is not in {path}/wav.scp")
        segments[utterance] = Segment(recording, start, None if end == -1 else end)
    return segments


def _check_speakers(table: Path, utterances: Mapping[str, object], utt2spk: Mapping[str, str]) -> None:
    for number, utterance in enumerate(utterances, start=1):
        if utterance not in utt2spk:
            raise VouchError(f"{table}:{number}: utterance '{utterance}' has no speaker in {table.parent}/utt2spk")
