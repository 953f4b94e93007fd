"""Simulates a recording session of the demo corpus: manner of speaking, room, noise, microphone and level."""

from dataclasses import dataclass

import numpy as np
from scipy.fft import next_fast_len
from scipy.signal import fftconvolve

from demo.noise import NOISES
from demo.score import SAMPLE_RATE
from demo.speaker import Manner


@dataclass(frozen=True)
class Session:
    """Properties that the utterances of one recording session share.

    Attributes
    ----------
    manner : Manner
    room : (taps,) float64
        Impulse response from the mouth to the microphone.
    noise : str
        A key of ``NOISES``.
    snr_db, level_db : float
        Signal-to-noise ratio at the microphone, and level of the recording in dB below full scale (rms).
    tone_db : (cosines,) float64
        The microphone's frequency response: amplitudes in dB of cosines over the mel axis.
    low_hz, high_hz : float
        Edges of the pass band.
    """

    manner: Manner
    room: np.ndarray
    noise: str
    snr_db: float
    level_db: float
    tone_db: np.ndarray
    low_hz: float
    high_hz: float


def draw_room(rng: np.random.Generator) -> np.ndarray:
    """Draw the impulse response of a random small room.

    It has a direct path, a few early reflections and noise that decays by 60 dB in 0.15 to 0.6 s; (taps,) float64 of
    unit energy.
    """
    t60 = rng.uniform(0.15, 0.6)
    seconds = np.arange(int(t60 * SAMPLE_RATE)) / SAMPLE_RATE
    response = rng.normal(size=len(seconds)) * 10.0 ** (-3.0 * seconds / t60)
    response[: int(0.004 * SAMPLE_RATE)] = 0.0
    reflections = rng.integers(int(0.001 * SAMPLE_RATE), int(0.025 * SAMPLE_RATE), 6)
    response[reflections] += rng.choice([-1.0, 1.0], 6) * rng.uniform(1.0, 5.0, 6)
    response /= np.sqrt(np.sum(response**2))
    direct_to_reverberant_db = rng.uniform(7.0, 19.0)
    response *= 10.0 ** (-direct_to_reverberant_db / 20.0)
    response[0] = 1.0
    return response / np.sqrt(np.sum(response**2))


def draw_session(rng: np.random.Generator) -> Session:
    """Draw the properties of a session, independently of the speaker."""
    telephone = rng.random() < 0.08
    return Session(
        manner=Manner(pitch_shift=rng.normal(0.0, 0.9), effort=rng.normal(0.0, 0.25), rate=2.0 ** rng.normal(0.0, 0.1)),
        room=draw_room(rng),
        noise=str(rng.choice(list(NOISES), p=[0.7, 0.2, 0.1])),
        snr_db=rng.uniform(18.0, 34.0),
        level_db=rng.uniform(-27.0, -21.0),
        tone_db=rng.normal(0.0, [2.0, 1.2, 1.0, 0.7, 0.5, 0.3]),
        low_hz=300.0 if telephone else rng.uniform(40.0, 160.0),
        high_hz=3600.0 if telephone else rng.uniform(5500.0, 8000.0),
    )


def _microphone(session: Session, bins: int) -> np.ndarray:
    """Return the gain at equally spaced frequencies from 0 Hz to the Nyquist frequency: (bins,) float64."""
    frequency = np.linspace(0.0, SAMPLE_RATE / 2.0, bins)
    mel = np.log1p(frequency / 700.0) / np.log1p(SAMPLE_RATE / 2.0 / 700.0)
    orders = np.arange(1, len(session.tone_db) + 1)
    tone = 10.0 ** (np.cos(np.pi * np.outer(mel, orders)) @ session.tone_db / 20.0)
    # Magnitudes of fourth-order Butterworth filters; the phase does not matter here.
    with np.errstate(divide="ignore"):
        highpass = 1.0 / np.sqrt(1.0 + (session.low_hz / frequency) ** 8)
    lowpass = 1.0 / np.sqrt(1.0 + (frequency / session.high_hz) ** 16)
    return tone * highpass * lowpass


def record(speech: np.ndarray, session: Session, rng: np.random.Generator) -> np.ndarray:
    """Apply room, noise, microphone and level of a session to dry speech.

    Parameters
    ----------
    speech : (samples,) float64
        Dry speech at 16 kHz, at any level.
    session : Session
    rng : numpy.random.Generator
        Draws the noise, which is never the same.

    Returns
    -------
    (samples,) int16
        Never clipped: the level is reduced where necessary.
    """
    samples = len(speech)
    sound = fftconvolve(speech, session.room)[:samples]
    gain = np.sqrt(np.mean(sound**2)) * 10.0 ** (-session.snr_db / 20.0)
    sound = sound + gain * NOISES[session.noise](samples, rng)
    size = next_fast_len(samples + SAMPLE_RATE, real=True)
    spectrum = np.fft.rfft(sound, size)
    sound = np.fft.irfft(spectrum * _microphone(session, len(spectrum)), size)[:samples]
    return to_int16(sound, session.level_db, rng)


def to_int16(sound: np.ndarray, level_db: float, rng: np.random.Generator) -> np.ndarray:
    """Scale (samples,) to a level in dB of full scale (rms), or less to avoid clipping, and round with dither."""
    scale = 10.0 ** (level_db / 20.0) / np.sqrt(np.mean(sound**2))
    scale = min(scale, 0.95 / np.max(np.abs(sound)))
    dither = rng.uniform(-0.5, 0.5, len(sound)) + rng.uniform(-0.5, 0.5, len(sound))
    return np.round(32767.0 * scale * sound + dither).astype(np.int16)
