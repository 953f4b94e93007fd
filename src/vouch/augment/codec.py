"""Codecs that lose something: mp3, Opus, Vorbis and G.722, through PyAV, where it is installed."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import ClassVar, NamedTuple

import numpy as np
import torch

from vouch.augment.bank import FULL_SCALE
from vouch.augment.base import Effect
from vouch.augment.draws import check_range
from vouch.base.errors import VouchError, pick


class Format(NamedTuple):
    """How a format is written.

    Attributes
    ----------
    encoder, container : str
        ffmpeg's names.
    channels : int
        What the encoder takes; both channels of two are the same.
    """

    encoder: str
    container: str
    channels: int = 1


# ffmpeg's own encoder of Vorbis, which PyAV has without another library, takes two channels only, and wants to be told
# that it is known to be an experiment.
FORMATS = {
    "mp3": Format("libmp3lame", "mp3"),
    "opus": Format("libopus", "ogg"),
    "vorbis": Format("vorbis", "ogg", channels=2),
    "g722": Format("g722", "wav"),
}
EXPERIMENTS = {"strict": "experimental"}
# It takes no bit rate but a quality, about an eighth of it in kbit/s; ffmpeg's unit of quality is a 118th.
KBPS_OF_QUALITY, QUALITY_UNIT = 8, 118
# G.722 is of 16 kHz, and of 64 kbit/s.
ONLY_RATE = {"g722": 16000}
# What codecs delay by is looked for up to here, in seconds.
MOST_DELAY = 0.15


class Codec(Effect):
    """Codes and decodes by one of several formats, at a bit rate that is drawn uniformly; offline only.

    The delay of a codec is taken back, by where the decoded waveform is most like the original.

    Parameters
    ----------
    formats : sequence of str
        Of "mp3", "opus", "vorbis" and "g722", each as often as the others.
    kbps : sequence of float
        Least and greatest bit rate in kbit/s; G.722 has one only.
    sample_rate : int
        In Hz.

    Raises
    ------
    VouchError
        PyAV is not installed, a format is unknown or not for this sampling rate, or the pair does not rise; by `apply`,
        a waveform that is too short for its codec.
    """

    is_offline: ClassVar = True
    tiny: ClassVar = {"formats": ["mp3", "opus"], "kbps": [24, 32]}

    def __init__(
        self,
        formats: Sequence[str] = ("mp3", "opus", "vorbis", "g722"),
        kbps: Sequence[float] = (16.0, 64.0),
        sample_rate: int = 16000,
    ) -> None:
        self.kbps = check_range("kbps of codec", kbps, 4, 320)
        if not formats:
            raise VouchError("formats of codec names no format")
        for name in formats:
            pick(FORMATS, name, "format of codec")
            if ONLY_RATE.get(name, sample_rate) != sample_rate:
                raise VouchError(f"format '{name}' of codec is for {ONLY_RATE[name]} Hz, not {sample_rate}")
        self.formats, self.sample_rate = list(formats), sample_rate
        self._pyav = import_pyav()

    def draw(self, rng: np.random.Generator, rows: int, samples: int) -> dict[str, np.ndarray]:
        return {"format": rng.integers(len(self.formats), size=rows), "kbps": rng.uniform(*self.kbps, rows)}

    def apply(self, waves: torch.Tensor, drawn: Mapping[str, torch.Tensor]) -> torch.Tensor:
        choices = zip(drawn["format"].tolist(), drawn["kbps"].tolist(), strict=True)
        rows = [
            self._code(wave, self.formats[number], kbps)
            for wave, (number, kbps) in zip(waves.numpy(), choices, strict=True)
        ]
        return torch.from_numpy(np.stack(rows))

    def _code(self, wave: np.ndarray, name: str, kbps: float) -> np.ndarray:
        """Code and decode one waveform, (samples,) float32, which is made quieter for it where it is too loud."""
        if not wave.any():
            return wave
        scale = FULL_SCALE / max(1.0, float(np.abs(wave).max()) * FULL_SCALE / (FULL_SCALE - 1))
        codes = np.round(wave * scale).astype(np.int16)
        try:
            decoded = self._decode(self._encode(codes, name, kbps))
        except self._pyav.FFmpegError as error:
            raise VouchError(f"{len(wave)} samples cannot be coded as {name} at {kbps:.0f} kbit/s: {error}") from None
        return (align(decoded, codes, int(MOST_DELAY * self.sample_rate)) / scale).astype(np.float32)

    def _encode(self, codes: np.ndarray, name: str, kbps: float) -> bytes:
        encoder, container, channels = FORMATS[name]
        layout = "mono" if channels == 1 else "stereo"
        written = io.BytesIO()
        with self._pyav.open(written, "w", format=container) as file:
            options = dict(EXPERIMENTS)
            if name == "vorbis":
                quality = kbps / KBPS_OF_QUALITY * QUALITY_UNIT
                options |= {"flags": "+qscale", "global_quality": str(round(quality))}
            stream = file.add_stream(encoder, rate=self.sample_rate, layout=layout, options=options)
            if name not in ONLY_RATE:
                stream.bit_rate = round(kbps * 1000)
            frame = self._pyav.AudioFrame.from_ndarray(codes.repeat(channels)[None], format="s16", layout=layout)
            frame.sample_rate = self.sample_rate
            for packet in (*stream.encode(frame), *stream.encode(None)):
                file.mux(packet)
        return written.getvalue()

    def _decode(self, content: bytes) -> np.ndarray:
        resampler = self._pyav.AudioResampler(format="s16", layout="mono", rate=self.sample_rate)
        pieces: list[np.ndarray] = []
        with self._pyav.open(io.BytesIO(content)) as file:
            for frame in (*file.decode(audio=0), None):
                pieces += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
        # A decoder may give nothing for less than a frame.
        return np.concatenate([np.empty(0, np.int16), *pieces])


def align(found: np.ndarray, original: np.ndarray, most: int) -> np.ndarray:
    """Return `found`, shifted by up to `most` samples to where it is most like the original, and as long as it."""
    size = 1 << (len(found) + len(original)).bit_length()
    likeness = np.fft.irfft(np.fft.rfft(found, size) * np.fft.rfft(original, size).conj(), size)
    most = min(most, size // 2 - 1)
    delays = np.arange(-most, most + 1)
    delay = int(delays[likeness[delays].argmax()])
    shifted = np.zeros(len(original), found.dtype)
    first, last = max(0, -delay), min(len(original), len(found) - delay)
    if last > first:
        shifted[first:last] = found[first + delay : last + delay]
    return shifted


def import_pyav() -> ModuleType:
    """Return PyAV; `VouchError` where it is not installed."""
    try:
        import av
    except ImportError:
        raise VouchError("augmentation 'codec' needs PyAV, which is not installed: pip install av") from None
    return av
