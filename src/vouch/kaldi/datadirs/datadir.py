"""Reads and checks, or writes, whole Kaldi data directories."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vouch.base.errors import VouchError
from vouch.base.numbers import plain_float
from vouch.kaldi.tables import read_table, write_table

# Times in `segments` are rounded, so a segment may end this many seconds after its recording.
SEGMENT_OVERSHOOT = 0.5
# Largest sample position; times in `segments` may be arbitrarily large, but no recording has so many samples.
MAX_POSITION = 2**53


class Segment(NamedTuple):
    """The recording that an utterance is part of, and its `start` and `end` in seconds (`end` None: to the end)."""

    recording: str
    start: float = 0.0
    end: float | None = None


def sample_bounds(segment: Segment, sample_rate: int) -> tuple[int, int | None]:
    """Return the first sample of a segment and the sample after its last; None: to the end of the recording."""
    first = _to_samples(segment.start, sample_rate)
    return first, None if segment.end is None else _to_samples(segment.end, sample_rate)


def _to_samples(seconds: float, sample_rate: int) -> int:
    return int(min(seconds * sample_rate, MAX_POSITION) + 0.5)


@dataclass(frozen=True)
class DataDir:
    """A data directory with consistent tables; use `DataDir.load`.

    Attributes
    ----------
    path : Path
        Path of the folder.
    utt2spk : dict of str to str
        Utterance id to speaker id.
    wav_scp : dict of str to str
        Recording id to extended file name; empty unless "wav.scp" was requested.
    segments : dict of str to Segment
        Utterance id to `Segment`; empty unless "wav.scp" was requested.
    feats_scp : dict of str to str
        Utterance id to archive position; empty unless "feats.scp" was requested.
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
            Tables to read beside `utt2spk`: "wav.scp" (with `segments` if it exists) and "feats.scp".

        Raises
        ------
        VouchError
            A table is malformed (the message names file and line), or an utterance has no speaker or no audio.
        """
        path = Path(path)
        if not path.is_dir():
            raise VouchError(f"{path}: no such data directory; stage 0 or you must make it")
        utt2spk = read_table(path / "utt2spk")
        names: dict[str, str] = {}
        for number, (utterance, speaker) in enumerate(utt2spk.items(), start=1):
            if speaker.split() != [speaker]:
                raise VouchError(f"{path}/utt2spk:{number}: '{utterance} {speaker}' has more than two fields")
            # All utterances of a speaker share one string object.
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

    `utt2spk`, which every reader needs, is removed first and written last, so that no later stage accepts a directory
    that a killed run left half-written.
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
