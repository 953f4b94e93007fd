"""Log mel (or linear) spectra of a short-time Fourier transform, as networks in PyTorch and librosa were trained on."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from vouch.base.errors import VouchError, pick
from vouch.features.base import FrontEnd
from vouch.features.mel import BLOCK_FRAMES, BandSums, blocks_of, check_sizes, triangles


class LogMel(FrontEnd):
    """Short-time spectra, summed under mel triangles, on a logarithmic scale if wanted.

    The defaults are the front end of voxceleb_trainer without pre-emphasis; other options give those of the GE2E
    code bases, of Resemblyzer and of SpeechBrain (see `conf/features`). `vouch.features.fbank` is Kaldi's, which
    differs in nearly everything.

    Parameters
    ----------
    sample_rate : int
        In Hz.
    num_mel_bins : int or None
        Number of triangles; None: the spectrum as it is, n_fft // 2 + 1 points.
    n_fft : int
        Points of the Fourier transform.
    low_freq : float
        Lower edge of the first triangle, Hz.
    high_freq : float
        Upper edge of the last triangle, Hz; 0 or less is counted down from half the sampling rate.
    frame_length : float
        Length of the window in milliseconds; it stands in the middle of the n_fft points.
    frame_shift : float
        In milliseconds.
    window_type : str
        "hann" or "hamming", periodic.
    padding : str
        How the signal goes on for n_fft // 2 samples beyond its ends, so that frame t is centred on sample t * shift:
        "reflect" (x[-i] = x[i], again and again where the signal is shorter than that) or "zeros"; "none": only frames
        of n_fft samples that lie wholly inside the signal.
    preemphasis : float
        Coefficient of the previous sample; that of the first sample is the second (reflection).
    input_scale : float
        Factor of the samples; 32768 for networks that were trained on 16-bit integers.
    spectrum : "power" or "magnitude"
    mel_scale : "htk" or "slaney"
    mel_norm : str
        "none" or "area", see `vouch.features.mel.triangles`.
    mel_falling : str
        "corner" or "mirror", see there.
    log : "natural", "log10", "decibel" (10 log10) or "none"
    log_offset : float
        Added before the logarithm; with 0, silence is kept finite.
    log_floor : float
        Smallest value whose logarithm is taken.
    dynamic_range : float, optional
        On the scale of the logarithm; what is further below the utterance's largest value is raised to that distance.
        None: nothing is.

    Raises
    ------
    VouchError
        An option out of range, or more triangles than the spectrum resolves.
    """

    window: torch.Tensor
    bands: nn.Module

    tiny: ClassVar = {"sample_rate": 8000, "num_mel_bins": 8, "n_fft": 256}

    def __init__(
        self,
        sample_rate: int = 16000,
        num_mel_bins: int | None = 40,
        n_fft: int = 512,
        low_freq: float = 0.0,
        high_freq: float = 0.0,
        frame_length: float = 25.0,
        frame_shift: float = 10.0,
        window_type: str = "hamming",
        padding: str = "reflect",
        preemphasis: float = 0.0,
        input_scale: float = 1.0,
        spectrum: str = "power",
        mel_scale: str = "htk",
        mel_norm: str = "none",
        mel_falling: str = "corner",
        log: str = "natural",
        log_offset: float = 1e-6,
        log_floor: float = 0.0,
        dynamic_range: float | None = None,
    ) -> None:
        super().__init__()
        per_ms = sample_rate / 1000
        check_sizes(
            sample_rate, num_mel_bins, n_fft=n_fft, frame_length=per_ms * frame_length, frame_shift=per_ms * frame_shift
        )
        self.sample_rate, self.n_fft = sample_rate, n_fft
        self.shift = int(sample_rate * frame_shift / 1000)
        window_size = int(sample_rate * frame_length / 1000)
        if not 2 <= window_size <= n_fft or self.shift < 1:
            raise VouchError(
                f"logmel: frame_length {frame_length:g} ms and frame_shift {frame_shift:g} ms are {window_size} and"
                f" {self.shift} samples; needs 2 to n_fft = {n_fft}, and at least 1"
            )
        if input_scale <= 0 or log_offset < 0:
            raise VouchError("logmel: input_scale must be positive, log_offset not negative")
        if log_floor < 0 or (dynamic_range is not None and dynamic_range <= 0):
            raise VouchError("logmel: log_floor must not be negative, dynamic_range must be positive")
        self.margin = pick(PADDINGS, padding, "padding")(n_fft)
        self.pads_zeros = padding == "zeros"
        self.preemphasis = preemphasis
        self.magnitude = pick({"power": False, "magnitude": True}, spectrum, "spectrum")
        self.log = pick(LOGARITHMS, log, "log")
        self.log_offset, self.log_floor = log_offset, max(log_floor, torch.finfo(torch.float32).tiny)
        self.dynamic_range = dynamic_range
        window = torch.zeros(n_fft)
        start = (n_fft - window_size) // 2
        window[start : start + window_size] = pick(WINDOWS, window_type, "window_type")(window_size)
        # Scaling the window spares a pass over the samples. Fixed by the options: rebuilt, not stored with a model.
        self.register_buffer("window", input_scale * window, persistent=False)
        self.dim, self.bands = n_fft // 2 + 1, nn.Identity()
        if num_mel_bins is not None:
            top = high_freq if high_freq > 0 else sample_rate / 2 + high_freq
            weights = triangles(num_mel_bins, n_fft, sample_rate, low_freq, top, mel_scale, mel_norm, mel_falling)
            self.dim, self.bands = num_mel_bins, BandSums(weights)

    def output_length(self, samples: int) -> int:
        """Return the number of frames that `samples` samples give."""
        inside = samples + 2 * self.margin - self.n_fft
        return 0 if samples == 0 or inside < 0 else 1 + inside // self.shift

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Compute the features of a batch of waveforms of one length.

        Parameters
        ----------
        samples : (batch, samples) float32 in [-1, 1]

        Returns
        -------
        (batch, frames, dim) float32
        """
        frames = self.output_length(samples.shape[-1])
        features = samples.new_empty(len(samples), frames, self.dim)
        for first, last in blocks_of(frames, BLOCK_FRAMES):
            features[:, first:last] = self._block(samples, first, last)
        if self.dynamic_range is not None and frames:
            features = torch.maximum(features, features.amax(dim=(1, 2), keepdim=True) - self.dynamic_range)
        return features

    def _block(self, samples: torch.Tensor, first: int, last: int) -> torch.Tensor:
        """Features of frames `first` to `last`: `(batch, samples) -> (batch, last - first, dim)`."""
        start = first * self.shift - self.margin
        signal = self._signal(samples, start, start + (last - first - 1) * self.shift + self.n_fft)
        transform = torch.fft.rfft(signal.unfold(-1, self.n_fft, self.shift) * self.window)
        spectrum = transform.real.square().addcmul_(transform.imag, transform.imag)
        if self.magnitude:
            spectrum = spectrum.sqrt_()
        energies = self.bands(spectrum)
        if self.log is None:
            return energies
        return self.log((energies + self.log_offset).clamp_(min=self.log_floor))

    def _signal(self, samples: torch.Tensor, first: int, last: int) -> torch.Tensor:
        """Samples `first` to `last` of the pre-emphasised signal, which goes on beyond its ends."""
        # Sample 0 counts as beyond: its predecessor is a reflection.
        inner, end = max(first, 1), min(last, samples.shape[-1])
        inside = self._emphasised(samples[:, inner:end], samples[:, inner - 1 : end - 1])
        if (inner, end) == (first, last):
            return inside
        return torch.cat([self._beyond(samples, first, inner), inside, self._beyond(samples, end, last)], dim=-1)

    def _beyond(self, samples: torch.Tensor, first: int, last: int) -> torch.Tensor:
        """Few samples `first` to `last` of the same signal, wherever they lie."""
        length = samples.shape[-1]
        place = torch.arange(first, last, device=samples.device)
        source = _reflected(place, length)
        values = self._emphasised(samples[:, source], samples[:, _reflected(source - 1, length)])
        return values.masked_fill((place < 0) | (place >= length), 0.0) if self.pads_zeros else values

    def _emphasised(self, samples: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:
        return torch.sub(samples, previous, alpha=self.preemphasis) if self.preemphasis else samples


def _reflected(place: torch.Tensor, length: int) -> torch.Tensor:
    """Places inside `length` samples for any places: a walk to and fro of period 2 (length - 1)."""
    period = max(2 * (length - 1), 1)
    place = place % period
    return torch.where(place < length, place, period - place)


# Samples that each end is extended by.
PADDINGS = {"reflect": lambda n_fft: n_fft // 2, "zeros": lambda n_fft: n_fft // 2, "none": lambda n_fft: 0}
WINDOWS = {
    "hann": lambda size: torch.hann_window(size, dtype=torch.float64).float(),
    "hamming": lambda size: torch.hamming_window(size, dtype=torch.float64).float(),
}
LOGARITHMS = {
    "natural": torch.Tensor.log_,
    "log10": torch.Tensor.log10_,
    "decibel": lambda energies: energies.log10_().mul_(10),
    "none": None,
}
