"""Plans an utterance of the demo corpus: phones, pauses and intonation as smooth articulatory tracks."""

from dataclasses import dataclass

import numpy as np

from demo.phones import PHONE_INDEX, PHONES, VOWELS, Syllable, draw_phrase
from demo.speaker import Manner, Speaker

SAMPLE_RATE = 16000
HOP = 80  # samples: the articulatory parameters change every 5 ms
_UPPER_FORMANTS = np.array([3500.0, 4500.0, 5500.0, 6500.0, 7500.0])


@dataclass(frozen=True)
class Score:
    """Articulatory parameters of one utterance, with a row for every 5 ms.

    Attributes
    ----------
    pitch : (frames,) float64
        Fundamental frequency in Hz.
    formants : (frames, 8) float64
        Formant frequencies in Hz.
    voice, breath, friction, nasal : (frames,) float64
        Amplitudes, and the opening of the nasal tract.
    friction_hz, friction_bandwidth : (frames,) float64
        Centre frequency and bandwidth of friction noise in Hz.
    """

    pitch: np.ndarray
    formants: np.ndarray
    voice: np.ndarray
    breath: np.ndarray
    friction: np.ndarray
    friction_hz: np.ndarray
    friction_bandwidth: np.ndarray
    nasal: np.ndarray


def _smooth(track: np.ndarray, milliseconds: float) -> np.ndarray:
    """Return the moving average of (frames, ...) tracks with a Hann window, with the same length."""
    window = np.hanning(2 * max(1, round(milliseconds / 10.0)) + 3)[1:-1]
    half = len(window) // 2
    padded = np.concatenate([track[:1].repeat(half, 0), track, track[-1:].repeat(half, 0)])
    kernel = window / window.sum()
    return np.apply_along_axis(np.convolve, 0, padded, kernel, "valid")


class _ScoreWriter:
    """Concatenates phones and pauses, and turns them into smooth tracks."""

    def __init__(self, speaker: Speaker, manner: Manner, rng: np.random.Generator) -> None:
        self.speaker, self.manner, self.rng = speaker, manner, rng
        self.rows: list[np.ndarray] = []  # F1 F2 F3 voice breath friction friction_hz friction_bandwidth nasal
        self.counts: list[int] = []
        self.semitones: list[np.ndarray] = []

    @property
    def frames(self) -> int:
        return sum(self.counts)

    def _hold(self, row: np.ndarray, seconds: float) -> None:
        self.rows.append(row)
        self.counts.append(max(1, round(seconds * SAMPLE_RATE / HOP)))

    def pause(self, seconds: float) -> None:
        # The tract stays in the position of the last phone, and the source is silent.
        row = self.rows[-1].copy() if self.rows else np.array([500.0, 1500, 2500, 0, 0, 0, 4000, 1500, 0])
        row[3:6] = 0.0
        self._hold(row, seconds)
        self.semitones.append(np.zeros(self.counts[-1]))

    def phrase(self, syllables: list[Syllable]) -> None:
        start, accents = self.frames, []
        for syllable in syllables:
            begin = self.frames
            for phone in syllable.phones:
                self._phone(phone, syllable.accented)
            if syllable.accented:
                accents.append((0.5 * (begin + self.frames) - start, self.rng.normal(1.0, 0.35)))
        self.semitones.append(self._intonation(self.frames - start, accents))

    def _phone(self, name: str, accented: bool) -> None:
        speaker, rng = self.speaker, self.rng
        stretch = speaker.vowel_stretch * (1.15 if accented else 0.85) if name in VOWELS else 1.0
        rate = speaker.rate * self.manner.rate
        # Targets vary randomly with each realisation of a phone.
        offset = speaker.phone_offsets[PHONE_INDEX[name]] * 2.0 ** rng.normal(0.0, 0.03, 3)
        for state in PHONES[name]:
            seconds = state.ms * 1e-3 * stretch / rate * 2.0 ** rng.normal(0.0, 0.2)
            self._hold(np.array([*(state.formants * offset), *state[2:]]), seconds)

    def _intonation(self, frames: int, accents: list[tuple[float, float]]) -> np.ndarray:
        seconds = np.arange(frames) * HOP / SAMPLE_RATE
        contour = self.speaker.declination * (seconds.mean() - seconds)
        for centre, height in accents:
            distance = (np.arange(frames) - centre) * HOP / SAMPLE_RATE / 0.09
            contour += self.speaker.f0_range * height * np.exp(-0.5 * distance**2)
        fall = np.clip((seconds - seconds[-1] + 0.25) / 0.25, 0.0, 1.0)
        return contour - 0.3 * self.speaker.f0_range - self.speaker.f0_range * 0.6 * fall

    def finish(self) -> Score:
        speaker = self.speaker
        tracks = np.repeat(np.array(self.rows), self.counts, axis=0)
        moving, gains = _smooth(tracks[:, :3], speaker.glide_ms), _smooth(tracks[:, 3:6], 20.0)
        # Bursts are not smoothed, because they last two frames only.
        friction = np.maximum(gains[:, 2], np.where(tracks[:, 5] > 0.6, tracks[:, 5], 0.0))
        # The upper formants follow the third one partially.
        upper = _UPPER_FORMANTS * (moving[:, 2:3] / 2500.0) ** 0.15
        formants = np.concatenate([moving, upper], axis=1) * speaker.formant_scale
        formants[:, 0] *= 2.0 ** (0.08 * self.manner.effort)
        wander = _smooth(self.rng.normal(0.0, 1.5, len(tracks)), 150.0)
        semitones = _smooth(np.concatenate(self.semitones), 30.0) + wander + self.manner.pitch_shift
        return Score(
            pitch=np.clip(speaker.f0 * 2.0 ** (semitones / 12.0), 55.0, 480.0),
            formants=np.clip(formants, 150.0, 7900.0),
            voice=gains[:, 0],
            breath=gains[:, 1],
            friction=friction * speaker.friction_level,
            friction_hz=np.clip(_smooth(tracks[:, 6], 20.0) * speaker.friction_scale, 500.0, 7600.0),
            friction_bandwidth=tracks[:, 7],
            nasal=np.clip(_smooth(tracks[:, 8], 50.0) + speaker.nasality, 0.0, 1.0),
        )


def write_score(speaker: Speaker, manner: Manner, seconds: float, rng: np.random.Generator) -> Score:
    """Plan an utterance of random phrases lasting about `seconds`."""
    writer = _ScoreWriter(speaker, manner, rng)
    writer.pause(rng.uniform(0.05, 0.2))
    while writer.frames * HOP / SAMPLE_RATE < seconds - 0.4:
        left = seconds - writer.frames * HOP / SAMPLE_RATE
        most = max(2, int(left * 4.5 * speaker.rate * manner.rate))
        syllables = min(most, int(rng.integers(4, 10)))
        writer.phrase(draw_phrase(rng, speaker.consonant_weights, syllables))
        writer.pause(rng.uniform(0.1, 0.35))
    return writer.finish()
