"""Checks the audio and the trials of data directories, and what training and test sets share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vouch.base.errors import VouchError
from vouch.kaldi.datadirs.datadir import SEGMENT_OVERSHOOT, DataDir
from vouch.kaldi.datadirs.examine import Facts
from vouch.kaldi.datadirs.findings import Report
from vouch.kaldi.datadirs.scan import parse_number, scan_rows
from vouch.kaldi.lists.trials import LABELS, trial_lists
from vouch.kaldi.tables import read_lines

# Peak below which a recording counts as silent: at -60 dB of full scale, a 16-bit recording uses 5 of its bits.
SILENCE_PEAK = 0.001
CLIPPED_SHARE = 0.001
# Tolerance in seconds. Durations in tables often follow from feature frames, which end before the audio does.
DURATION_SLACK = 0.05


@dataclass(frozen=True)
class Limits:
    """Requirements on the audio.

    Attributes
    ----------
    sample_rate : int
        Expected sampling rate in Hz; other rates, which are resampled when read, give a warning.
    min_seconds : float
        Shortest length of an utterance in seconds.
    """

    sample_rate: int = 16000
    min_seconds: float = 0.0


class Places:
    """Finds the line of a key in a data directory's tables, for findings."""

    def __init__(self, data: DataDir) -> None:
        self._data = data
        self._lines: dict[str, dict[str, int]] = {}
        self.utterance_table = "segments" if (data.path / "segments").exists() else "wav.scp"

    def of(self, name: str, key: str) -> tuple[Path, int]:
        """Return file and line of a key in a table."""
        if name not in self._lines:
            data = self._data
            tables: dict[str, Mapping[str, object]]
            tables = {"utt2spk": data.utt2spk, "wav.scp": data.wav_scp, "segments": data.segments}
            self._lines[name] = {key: line for line, key in enumerate(tables[name], start=1)}
        return self._data.path / name, self._lines[name][key]

    def utterance(self, key: str) -> tuple[Path, int]:
        """Return file and line of the entry that locates an utterance's audio."""
        return self.of(self.utterance_table, key)


def judge_audio(data: DataDir, facts: Mapping[str, Facts], limits: Limits, report: Report) -> None:
    """Report recordings and utterances with unusable audio as errors, and with unusual audio as warnings.

    Parameters
    ----------
    data : DataDir
        Data directory, loaded with "wav.scp".
    facts : mapping of str to Facts
        From `examine_audio`.
    """
    places = Places(data)
    durations = _read_numbers(data.path / "utt2dur")
    recordings = _read_numbers(data.path / "reco2dur") if places.utterance_table == "segments" else {}
    for recording, known in facts.items():
        where = places.of("wav.scp", recording)
        if known.problem:
            report.error("unreadable", *where, f"'{recording}': {known.problem}")
            continue
        if known.rate != limits.sample_rate:
            report.warning("rate", *where, f"'{recording}' has {known.rate} Hz, not {limits.sample_rate}")
        if known.channels != 1:
            report.warning("channels", *where, f"'{recording}' has {known.channels} channels")
        if known.not_finite:
            report.error("NaN", *where, f"'{recording}' has {known.not_finite} NaN or infinite samples")
        if recording in recordings:
            number, listed = recordings[recording]
            _judge_duration(data.path / "reco2dur", number, recording, listed, known.frames / known.rate, report)
        for utterance in known.pieces:
            _judge_utterance(places, utterance, known, limits, report)
            if utterance in durations:
                number, listed = durations[utterance]
                seconds = known.pieces[utterance].frames / known.rate
                _judge_duration(data.path / "utt2dur", number, utterance, listed, seconds, report)
    _judge_segments(data, facts, places, report)


def _judge_utterance(places: Places, utterance: str, known: Facts, limits: Limits, report: Report) -> None:
    piece, where = known.pieces[utterance], places.utterance(utterance)
    if piece.peak == 0:
        report.error("silence", *where, f"'{utterance}': all samples are 0")
    elif piece.peak < SILENCE_PEAK:
        report.warning("silence", *where, f"'{utterance}': its loudest sample is {piece.peak:.2g} of full scale")
    if piece.clipped > CLIPPED_SHARE:
        report.warning("clipping", *where, f"'{utterance}': {piece.clipped:.1%} of its samples are at full scale")
    if piece.frames < limits.min_seconds * known.rate:
        seconds = piece.frames / known.rate
        report.error("shortest", *where, f"'{utterance}' has {seconds:.3f} s, fewer than {limits.min_seconds:g}")


def _judge_duration(path: Path, line: int, key: str, listed: float, seconds: float, report: Report) -> None:
    if abs(listed - seconds) > DURATION_SLACK:
        report.error("duration", path, line, f"'{key} {listed:g}': its audio has {seconds:.3f} s")


def _judge_segments(data: DataDir, facts: Mapping[str, Facts], places: Places, report: Report) -> None:
    for utterance, segment in data.segments.items():
        known = facts[segment.recording]
        if known.problem:
            continue
        seconds = known.frames / known.rate
        if utterance not in known.pieces or (segment.end or 0) > seconds + SEGMENT_OVERSHOOT:
            message = f"'{utterance}' is outside of recording '{segment.recording}', which has {seconds:.3f} s"
            report.error("segments", *places.utterance(utterance), message)


def _read_numbers(path: Path) -> dict[str, tuple[int, float]]:
    """Read line numbers and values of a table of numbers; NaN for others, which the rules of tables have reported."""
    if not path.exists():
        return {}
    rows = scan_rows(path, Report())
    values = map(parse_number, rows.values)
    return {key: (line, value) for key, line, value in zip(rows.keys, rows.numbers, values, strict=True)}


def judge_duplicates(data: DataDir, facts: Mapping[str, Facts], report: Report) -> None:
    """Report utterances with the same samples: an error for different speakers, a warning for the same speaker."""
    places = Places(data)
    seen: dict[str, str] = {}
    for utterance, digest in _digests(facts):
        if digest not in seen:
            seen[digest] = utterance
            continue
        other = seen[digest]
        if data.utt2spk[other] == data.utt2spk[utterance]:
            report.warning("duplicates", *places.utterance(utterance), f"'{utterance}' has the samples of '{other}'")
        else:
            message = f"'{utterance}' has the samples of '{other}', which is of speaker '{data.utt2spk[other]}'"
            report.error("duplicates", *places.utterance(utterance), message)


def _digests(facts: Mapping[str, Facts]) -> Iterable[tuple[str, str]]:
    for known in facts.values():
        for utterance, piece in known.pieces.items():
            # All-zero utterances of the same length are equal, and are already reported as silent.
            if piece.peak > 0:
                yield utterance, piece.digest


def judge_shared(
    data: DataDir,
    other: DataDir,
    facts: Mapping[str, Facts],
    others: Mapping[str, Facts],
    report: Report,
) -> None:
    """Report speakers, utterances, files and samples in both of two data directories, such as training and test sets.

    Parameters
    ----------
    data, other : DataDir
        The directories.
    facts, others : mapping of str to Facts
        From `examine_audio`; if empty, samples are not compared.
    """
    places, speakers, files = Places(data), set(other.utt2spk.values()), set(other.wav_scp.values())
    first: dict[str, str] = {}
    for utterance, speaker in data.utt2spk.items():
        first.setdefault(speaker, utterance)
        if utterance in other.utt2spk:
            message = f"utterance '{utterance}' is in {other.path} too"
            report.error("shared utterances", *places.of("utt2spk", utterance), message)
    for speaker, utterance in first.items():
        if speaker in speakers:
            message = f"speaker '{speaker}' is in {other.path} too"
            report.error("shared speakers", *places.of("utt2spk", utterance), message)
    for recording, rxfilename in data.wav_scp.items():
        if rxfilename in files:
            message = f"the audio of '{recording}' is in {other.path}/wav.scp too"
            report.error("shared audio", *places.of("wav.scp", recording), message)
    theirs = {digest: utterance for utterance, digest in _digests(others)}
    for utterance, digest in _digests(facts):
        if digest in theirs:
            message = f"'{utterance}' has the samples of '{theirs[digest]}' in {other.path}"
            report.error("shared audio", *places.utterance(utterance), message)


def judge_frames(path: Path, min_frames: int, report: Report) -> None:
    """Report utterances with fewer than `min_frames` frames in utt2num_frames of the directory `path`."""
    table = path / "utt2num_frames"
    if not table.exists():
        report.error("shortest", table, 0, "no such file; without it the frames are not known")
    for utterance, (line, frames) in _read_numbers(table).items():
        if frames < min_frames:
            report.error("shortest", table, line, f"'{utterance}' has {frames:g} frames, fewer than {min_frames}")


def judge_trials(data: DataDir, enrol_map: Path | None, report: Report) -> None:
    """Report malformed lines and unknown ids of the trial lists of a data directory.

    Enrolment ids can be those of utterances, of speakers, and of the `enrol-id utterance ...` table if there is one.
    """
    enrol = {*data.utt2spk, *data.utt2spk.values()}
    if enrol_map is not None:
        rows = scan_rows(enrol_map, report)
        enrol.update(rows.keys)
        for name, listed, line in zip(rows.keys, rows.values, rows.numbers, strict=True):
            for utterance in listed.split():
                if utterance not in data.utt2spk:
                    report.error("trials", enrol_map, line, f"'{utterance}' of '{name}' is not in utt2spk")
    for path in trial_lists(data.path):
        try:
            lines = read_lines(path)
        except VouchError as error:
            report.error("trials", path, 0, str(error).removeprefix(f"{path}:").strip())
            continue
        labels = set()
        for number, text in enumerate(lines, start=1):
            fields = text.split()
            if len(fields) != 3 or fields[2] not in LABELS:
                report.error("trials", path, number, f"'{text.strip()}' is not '<enrol-id> <test-id> target|nontarget'")
                continue
            labels.add(fields[2])
            for side, name, known in (("enrolment", fields[0], enrol), ("test", fields[1], data.utt2spk)):
                if name not in known:
                    report.error("trials", path, number, f"{side} '{name}' is not in utt2spk")
        for label in sorted(LABELS.keys() - labels):
            report.warning("trials", path, 0, f"no {label} trial: there is no error rate without")
