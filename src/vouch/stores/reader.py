"""Reads the waveforms of a data directory, utterance by utterance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from vouch.audio.reading import Audio, read_audio
from vouch.base.channels import MEAN
from vouch.base.errors import VouchError, attempt
from vouch.kaldi.datadirs.datadir import SEGMENT_OVERSHOOT, DataDir, sample_bounds

# Shortest segment in seconds; Kaldi's extract-segments leaves out shorter ones too.
MIN_SEGMENT = 0.1


class Reading(NamedTuple):
    """Result of reading one utterance.

    Attributes
    ----------
    utterance : str
        Utterance id.
    samples : (samples,) float32 in [-1, 1]
        The samples, or the reason why they cannot be read.
    notes : Counter
        Conversions of its recording, see `WaveReader`.
    """

    utterance: str
    samples: np.ndarray | VouchError
    notes: Counter[str]


class WaveReader:
    """Reads utterances of a data directory, and cuts segments out of recordings.

    Parameters
    ----------
    data : DataDir
        Data directory, loaded with "wav.scp".
    sample_rate : int
        Sampling rate in Hz; recordings at other rates are resampled.
    channel : int or str
        Channel to use of recordings with several, see `vouch.audio.reading.read_audio`.

    Attributes
    ----------
    notes : Counter
        Number of recordings that were resampled, by rate, or reduced to one channel, by number of channels.
    """

    def __init__(self, data: DataDir, sample_rate: int, channel: int | str = MEAN) -> None:
        self._data = data
        self._rate = sample_rate
        self._channel = channel
        self._has_segments = (data.path / "segments").exists()
        self._recording = ""
        self._audio: Audio | None = None
        self.notes: Counter[str] = Counter()

    def read(self, utterance: str) -> np.ndarray:
        """Return the samples of an utterance, (samples,) float32 in [-1, 1].

        Raises
        ------
        VouchError
            The recording cannot be read (see `vouch.audio.reading.read_audio`), or the segment lies outside of it.
        """
        segment = self._data.segments[utterance]
        # Segments of one recording are adjacent in the sorted table, so it is decoded once.
        if segment.recording != self._recording or self._audio is None:
            self._audio = None
            self._audio = read_audio(self._data.wav_scp[segment.recording], self._rate, self._channel)
            self._recording = segment.recording
            if self._audio.source_rate != self._rate:
                self.notes[f"resampled from {self._audio.source_rate} Hz"] += 1
            if self._audio.source_channels > 1:
                how = "averaged over" if self._channel == MEAN else f"reduced to channel {self._channel} of"
                self.notes[f"{how} {self._audio.source_channels} channels"] += 1
        samples = self._audio.samples
        first, last = sample_bounds(segment, self._rate)
        if first >= len(samples) or (last or 0) > len(samples) + SEGMENT_OVERSHOOT * self._rate:
            raise VouchError(
                f"segment {segment.start:g} to {segment.end or len(samples) / self._rate:g} s is outside recording"
                f" '{segment.recording}' of {len(samples) / self._rate:g} s"
            )
        samples = samples[first:last]
        if self._has_segments and len(samples) < MIN_SEGMENT * self._rate:
            raise VouchError(
                f"segment of {len(samples) / self._rate:g} s; those below {MIN_SEGMENT:g} s are left out, as by Kaldi"
            )
        return samples

    def read_each(self, utterances: Sequence[str]) -> Iterator[Reading]:
        """Yield utterances with their samples, or the reason why they cannot be read, and with their notes.

        If recordings must be decoded, a thread reads the next utterance in advance. For plain wav files, starting the
        thread would take longer than reading.
        """
        recordings = {self._data.segments[utterance].recording for utterance in utterances}
        if all(self._data.wav_scp[recording].lower().endswith(".wav") for recording in recordings):
            for utterance in utterances:
                yield self._read_noted(utterance)
            return
        with ThreadPoolExecutor(1) as reading:
            ahead = [reading.submit(self._read_noted, utterance) for utterance in utterances[:1]]
            for following in [*utterances[1:], None][: len(utterances)]:
                result = ahead.pop().result()
                if following is not None:
                    ahead.append(reading.submit(self._read_noted, following))
                yield result

    def _read_noted(self, utterance: str) -> Reading:
        samples = attempt(self.read, utterance)
        notes, self.notes = self.notes, Counter()
        return Reading(utterance, samples, notes)
